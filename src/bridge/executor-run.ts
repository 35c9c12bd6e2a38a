/** The element types that an executor computes with. */
export type Dtype = "float32" | "int32" | "bool";

/** A tensor written from JavaScript. bool is sent as bytes of 0 and 1. */
export type Upload =
  | { dtype: "float32"; shape: number[]; data: Float32Array }
  | { dtype: "int32"; shape: number[]; data: Int32Array }
  | { dtype: "bool"; shape: number[]; data: Uint8Array };

/**
 * One run of a program by the executor. It uploads, computes, reads, and then frees. If one of these fails, nothing
 * has changed there. Handles name tensors on the device.
 */
export interface Run {
  /** Counts up from 1. */
  seq: number;
  /** The first 16 hex digits of the definition's SHA-256; "": nothing to compute. */
  program: string;
  /** Handles, in the order of the definition. */
  inputs: number[];
  /** The program's outputs get the handles base, base + 1, and so on. */
  base: number;
  /** Handles to forget when everything else is done. */
  free: number[];
  /** Handles whose values are sent back, in this order. */
  reads: number[];
  /** The values of all literals, one after another. */
  literals: number[];
  /** The handle of the rows that the rank announced; -1: none. */
  rows: number;
  /** A float32 vector whose values are sent with the rank's next embeddings; -1: none. */
  metrics: number;
  /** The rank's new prototypes, (K, D); -1: unchanged. */
  prototypes: number;
  /** (N, K), the targets of this step; -1: none. */
  targets: number;
  /** Whether to forget all earlier definitions. */
  forget: boolean;
  /** The program's definition, if it is new on this connection. */
  definition?: Uint8Array;
  /** Tensors that JavaScript wrote, by handle. */
  uploads: Map<number, Upload>;
}
