import type { BackendValues, DataId, TensorInfo, TypedArray } from "@tensorflow/tfjs-core";
import { UserError } from "../../errors.ts";
import type { Instruction } from "./queue.ts";

/** The element types that an executor computes with. */
export type Dtype = "float32" | "int32" | "bool";

export const BYTES: Record<Dtype, number> = { float32: 4, int32: 4, bool: 1 };

/**
 * What a tfjs data id names. It is the data id itself: tfjs only asks for an object. Its values are in one place:
 * in JavaScript (`values`), in the queue (`producer`), or on the device (`handle`).
 */
export class Datum {
  /** What tfjs calls it: itself, except where it came from another backend. */
  id: DataId = this;
  /** How many tensors share it; 0: it lives inside the queue alone. */
  refs = 0;
  /** Its name on the device; 0: it has none. */
  handle = 0;
  /** What JavaScript wrote, until it is uploaded. At most 64 numbers are never uploaded: every run carries them. */
  values: TypedArray | undefined;
  /** Whether `values` travel with each run that uses them. */
  literal = false;
  /** The queued instruction that will compute it. */
  producer: Instruction | undefined;
  /** Why it does not exist on the device. */
  failure: Error | undefined;
  /** A read of it waits for the next run. */
  wanted = false;
  /** Whether the program that is being cut computes with it. */
  used = false;
  /** Its slot in the program that is being cut; -1: none yet. */
  slot = -1;
  /** The same values in other shapes, by shape, for the present program. */
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

/** How many numbers a tensor of this shape holds. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const each of shape) size *= each;
  return size;
}

/** Throws UserError for the types that no executor has. */
export function asDtype(dtype: string, what: string): Dtype {
  if (dtype === "float32" || dtype === "int32" || dtype === "bool") return dtype;
  throw new UserError(`${what}: backend torch has tensors of float32, int32 and bool, and none of ${dtype}`);
}

/** What was written, as an array of its own: the caller may change his while it waits in the queue. */
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
