import { createRequire } from "node:module";
import util from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { sentence } from "../errors.ts";
import { allowedCores, askedThreads } from "./cores.ts";

/** Environment variables that libtensorflow reads as it loads. The user's own values take precedence. */
const settings = () => ({
  // No greeting on standard error. oneDNN made no step faster, and its greeting cannot be silenced.
  TF_CPP_MIN_LOG_LEVEL: "1",
  TF_ENABLE_ONEDNN_OPTS: "0",
  // By default Eigen uses oneDNN's AVX-512 product, which keeps data below the stack pointer. A signal at the
  // wrong moment (Ctrl-C, the end of a child, a resized terminal) then corrupts memory.
  TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL: "0",
  // By default it uses every core of the machine.
  TF_NUM_INTRAOP_THREADS: String(askedThreads() ?? allowedCores()),
  TF_NUM_INTEROP_THREADS: String(askedThreads() ?? allowedCores()),
});

/**
 * Loads tfjs-node, which registers the backend "tensorflow" with our tfjs-core. It is an optional
 * dependency with a native part, so it is looked up at run time.
 *
 * @returns undefined if it loaded, else the reason why it did not
 */
export function loadTensorflow(): string | undefined {
  if (tf.findBackendFactory("tensorflow") !== null) return undefined;
  Object.assign(process.env, { ...settings(), ...process.env });
  // tfjs-node 4.22 calls two helpers that Node 23 removed and Node 22 deprecates.
  Object.assign(util, {
    isNullOrUndefined: (value: unknown) => value === null || value === undefined,
    isArray: Array.isArray,
  });
  try {
    createRequire(import.meta.url)("@tensorflow/tfjs-node");
    return undefined;
  } catch (error) {
    return explain(error);
  }
}

function explain(error: unknown): string {
  const text = sentence(error).split("\n")[0] ?? "";
  if (text.includes("Cannot find module '@tensorflow/tfjs-node'")) return "tfjs-node is not installed";
  if (text.includes("native addon module")) return "the native part of tfjs-node is not built";
  return text;
}
