import { createHash } from "node:crypto";
import type { TypedArray } from "@tensorflow/tfjs-core";
import type { Dtype, Run, Upload } from "../../bridge/executor-run.ts";

/** Increases when the kernel table changes. python_env/mixhead/executor/kernels has the same number. */
export const KERNELS_VERSION = 1;

/** The largest tensor, in numbers, that is sent with every run instead of being uploaded once. */
export const MAX_LITERAL = 64;

/** The number of programs after which both sides forget all of them, so that memory does not grow without bound. */
export const MAX_PROGRAMS = 256;

/** The handle that names no tensor. */
export const NONE = -1;

/** Sends a run to the executor at once. The answer goes to `TorchBackend.values` or `failed`. */
export interface Link {
  send(run: Run): void;
}

/** A dtype and a shape, as in definitions. */
export type Spec = [Dtype, number[]];

/** Attributes of an instruction: JSON, in the order in which the kernel wrote them. */
export type Attributes = Record<string, Json>;
type Json = string | number | boolean | null | Json[];

/** Kernel, slots of its inputs, attributes, outputs. */
export type Code = [string, number[], Attributes, Spec[]];

/** A program: instructions over slots. Inputs have the first slots, then literals, then outputs of instructions. */
export interface Definition {
  inputs: Spec[];
  literals: Spec[];
  code: Code[];
  outputs: number[];
}

/** A definition as it is sent. The same program always has the same text. */
export function textOf({ inputs, literals, code, outputs }: Definition): string {
  return JSON.stringify({ version: KERNELS_VERSION, inputs, literals, code, outputs });
}

/** A program's name, which depends only on its text, not on the values of literals. */
export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** A tensor from JavaScript as it is sent. */
export function asUpload(dtype: Dtype, shape: number[], values: TypedArray): Upload {
  if (dtype === "float32" && values instanceof Float32Array) return { dtype, shape, data: values };
  if (dtype === "int32" && values instanceof Int32Array) return { dtype, shape, data: values };
  if (dtype === "bool" && values instanceof Uint8Array) return { dtype, shape, data: values };
  throw new TypeError(`${values.constructor.name} holds no ${dtype}`);
}
