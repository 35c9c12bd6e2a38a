// `import { createPlugin } from "mixhead/plugins"`: plugins and parts of the mixture, without experiments, Python or sockets.
export * as tf from "@tensorflow/tfjs-core";
export { closeBackend, openBackend } from "../backend/backend.ts";
export type { NamedTensors } from "../files/tensors.ts";
export type { Components } from "./online-gmm/components.ts";
export {
  type Covariance,
  diagonal as diagonalCovariance,
  shared as sharedCovariance,
  spherical as sphericalCovariance,
} from "./online-gmm/covariance.ts";
export {
  type Assign,
  type EStep,
  hard as hardEStep,
  soft as softEStep,
} from "./online-gmm/e-step.ts";
export { byNothing, byResponsibility, byTime, type Forgetting } from "./online-gmm/forgetting.ts";
export { begin as beginComponents, type Start as ComponentsStart } from "./online-gmm/init.ts";
export { accumulate, estimate } from "./online-gmm/m-step.ts";
export { type Sums as BatchSums, sumsOf as batchSums } from "./online-gmm/statistics.ts";
export type { PrototypePlugin, StepResult } from "./plugin.ts";
export { directions, generator } from "./random.ts";
export { type BuiltIn, createPlugin, type PluginFactory, type PluginOptions } from "./registry.ts";
