import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../errors.ts";
import { loadTensorflow } from "./tensorflow.ts";
import type { Connection } from "./torch/connect.ts";

export type BackendName = "tensorflow" | "wasm" | "torch";

let connection: Connection | undefined;

/**
 * Activates the tfjs backend that computes the mixture. `auto` is tensorflow if its native library
 * loads, else wasm. "torch" starts a Python process, and this process does not exit before
 * `closeBackend`.
 *
 * @param log gets one sentence: the backend, and the reason for it
 * @throws UserError if a backend that was named does not load; RunError if Python does not start
 */
export async function openBackend(
  choice: "auto" | BackendName,
  log: (line: string) => void = () => {},
): Promise<BackendName> {
  if (choice === "torch") return openTorch(log);
  const missing = choice === "wasm" ? undefined : loadTensorflow();
  if (choice === "tensorflow" && missing !== undefined) {
    throw new UserError(
      `backend tensorflow does not load: ${missing}; run npm start, which sets it up, or choose backend=wasm`,
    );
  }
  const name: BackendName = choice === "wasm" || missing !== undefined ? "wasm" : "tensorflow";
  if (name === "wasm") await import("@tensorflow/tfjs-backend-wasm");
  if (!(await tf.setBackend(name))) throw new UserError(`backend ${name} does not start on this machine`);
  log(`The mixture runs on tfjs ${name}${reason(choice, missing)}.`);
  return name;
}

async function openTorch(log: (line: string) => void): Promise<BackendName> {
  const { connect } = await import("./torch/connect.ts");
  connection ??= await connect();
  if (!(await tf.setBackend("torch"))) throw new UserError("backend torch does not start");
  log(`The mixture runs on PyTorch (${connection.device}), as configured.`);
  return "torch";
}

/** Ends the Python process of backend torch, if `openBackend` has started one. Its tensors are lost. */
export async function closeBackend(): Promise<void> {
  const open = connection;
  connection = undefined;
  await open?.close();
}

function reason(choice: string, missing: string | undefined): string {
  if (missing !== undefined) return `, since tensorflow does not load: ${missing}`;
  return choice === "auto" ? "" : ", as configured";
}
