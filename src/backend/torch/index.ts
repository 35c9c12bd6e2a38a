// `import { connect } from "mixhead/backend-torch"`: a tfjs backend whose kernels PyTorch executes.

export type { Run } from "../../bridge/executor-run.ts";
export { withBackend } from "../context.ts";
export { type Purpose, TorchBackend } from "./backend.ts";
export { type Connection, type ConnectOptions, connect } from "./connect.ts";
export type { DeviceOptions } from "./device.ts";
export { KERNELS_VERSION, type Link } from "./program.ts";
