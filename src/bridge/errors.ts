import type { ErrorCode, RejectCode } from "./protocol.ts";

/** A batch was refused and changed nothing. Rooms throw it from `step`; the rank gets `code`, `row` and the message. */
export class BatchError extends Error {
  override readonly name = "BatchError";
  /** `row`: the row at fault, counted from 0 in the merged batch; -1 if there is none. */
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly row = -1,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A rank or a state was rejected. Rooms throw it from `welcome` and `load`, and a server from `open`. */
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

/** The bytes are not a valid message of this protocol. */
export class WireError extends Error {
  override readonly name = "WireError";
  constructor(
    readonly code: "version" | "shape" | "dtype",
    message: string,
  ) {
    super(message);
  }
}
