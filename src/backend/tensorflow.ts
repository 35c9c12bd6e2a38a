import { createRequire } from "node:module";
import util from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { sentence } from "../errors.ts";
import { allowedCores, askedThreads } from "./cores.ts";

/** What libtensorflow reads from the environment as it loads, where the user has not said otherwise. */
const settings = () => ({
  // It greets on standard error. Its oneDNN kernels made no step faster, and they greet whatever is set.
  TF_CPP_MIN_LOG_LEVEL: "1",
  TF_ENABLE_ONEDNN_OPTS: "0",
  // oneDNN's AVX-512 product, which Eigen uses otherwise, keeps data below the stack pointer: a signal that
  // arrives meanwhile (Ctrl-C, the end of a child, a resized terminal) overwrites the heap.
  TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL: "0",
  // Left to itself it takes every core that the machine has.
  TF_NUM_INTRAOP_THREADS: String(askedThreads() ?? allowedCores()),
  TF_NUM_INTEROP_THREADS: String(askedThreads() ?? allowedCores()),
});

/**
 * Loads tfjs-node, which registers the backend "tensorflow" with the tfjs-core that we use. It is an
 * optional dependency with a native part, so it is looked for at run time.
 *
 * @returns nothing where it loaded, else why it did not.
 */
export function loadTensorflow(): string | undefined {
  if (tf.findBackendFactory("tensorflow") !== null) return undefined;
  Object.assign(process.env, { ...settings(), ...process.env });
  // tfjs-node 4.22 calls two helpers that Node 23 removed and Node 22 warns of.
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
