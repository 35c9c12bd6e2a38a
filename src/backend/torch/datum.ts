import type { BackendValues, DataId, TensorInfo, TypedArray } from "@tensorflow/tfjs-core";
import type { Dtype } from "../../bridge/executor-run.ts";
import { UserError } from "../../errors.ts";
import type { Attributes } from "./program.ts";
import type { Site } from "./sites.ts";

export const BYTES: Record<Dtype, number> = { float32: 4, int32: 4, bool: 1 };

/**
 * The data of a tfjs tensor. It serves as its own tfjs data id, which can be any object. Its values are in one
 * place: in JavaScript (`values`), in the queue (`producer`), or on the device (`handle`).
 */
export class Datum {
  /** tfjs's data id: the datum itself, unless it came from another backend. */
  id: DataId = this;
  /** The number of tensors that share it; 0: it exists only inside the queue. */
  refs = 0;
  /** Its handle on the device; 0: none. */
  handle = 0;
  /** Values written by JavaScript, until they are uploaded. Up to 64 numbers are never uploaded: each run has them. */
  values: TypedArray | undefined;
  /** Whether `values` are sent with each run that uses them. */
  literal = false;
  /** The queued instruction that will compute it. */
  producer: Instruction | undefined;
  /** The reason why it does not exist on the device. */
  failure: Error | undefined;
  /** Whether a read or a purpose of the next run needs it. */
  wanted = false;
  /** Whether the program that is being cut uses it. */
  used = false;
  /** Its slot in the program that is being cut; -1: none yet. */
  slot = -1;
  /** The same values in other shapes, by shape, for the current program. */
  views: Map<string, Operand> | undefined;

  constructor(
    readonly dtype: Dtype,
    readonly shape: number[],
    readonly size: number,
  ) {}

  get bytes(): number {
    return this.size * BYTES[this.dtype];
  }
}

/** A call of a kernel that waits for the next run. */
export interface Instruction {
  kernel: string;
  inputs: Datum[];
  attributes: Attributes;
  outputs: Datum[];
  site: Site | undefined;
}

/** A tensor as kernels see it. Its shape may differ from its datum's: tfjs's Reshape shares data. */
export interface Operand extends TensorInfo {
  readonly dataId: Datum;
  readonly dtype: Dtype;
  readonly shape: number[];
}

/** A datum in its own shape. */
export function operandOf(datum: Datum): Operand {
  return { dataId: datum, shape: datum.shape, dtype: datum.dtype };
}

/** The number of elements of a tensor of this shape. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const each of shape) size *= each;
  return size;
}

/** Checks a dtype. `what` begins the error message. @throws UserError for a dtype that executors lack */
export function asDtype(dtype: string, what: string): Dtype {
  if (dtype === "float32" || dtype === "int32" || dtype === "bool") return dtype;
  throw new UserError(`${what}: backend torch has tensors of float32, int32 and bool, not of ${dtype}`);
}

/** Copies values, since the caller may change the original while the copy waits in the queue. */
export function copyOf(values: BackendValues | ArrayLike<number>, dtype: Dtype): TypedArray {
  const numbers: ArrayLike<number> = Array.isArray(values) ? values.map(Number) : values;
  if (dtype === "float32") return new Float32Array(numbers);
  if (dtype === "int32") return new Int32Array(numbers);
  return Uint8Array.from(numbers, (value) => (value === 0 ? 0 : 1));
}

/** A tensor in words: "float32 [8, 4]". */
export function describe({ dtype, shape }: { dtype: string; shape: readonly number[] }): string {
  return `${dtype} [${shape.join(", ")}]`;
}
