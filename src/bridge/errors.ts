import type { ErrorCode, RejectCode } from "./protocol.ts";

/** A batch that changed nothing, and why. Rooms throw it from `step`; the rank reads `code`, `row` and the sentence. */
export class BatchError extends Error {
  override readonly name = "BatchError";
  /** `row` counts from 0 in the merged batch; -1 where no row is to blame. */
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly row = -1,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A rank that is not let in, or a state that is not taken. Rooms throw it from `welcome` and `load`, a server's `open` too. */
export class RejectError extends Error {
  override readonly name = "RejectError";
  constructor(
    readonly code: RejectCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Bytes that are not a message of this protocol. */
export class WireError extends Error {
  override readonly name = "WireError";
  constructor(
    readonly code: "version" | "shape" | "dtype",
    message: string,
  ) {
    super(message);
  }
}
