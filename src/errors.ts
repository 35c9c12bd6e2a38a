/**
 * A mistake of the user's: a wrong setting, file or name. The command line prints its sentence
 * alone, without a stack, and exits with 2.
 */
export class UserError extends Error {
  override readonly name = "UserError";
}

/**
 * Something that failed while running: a worker that died, a deadline that passed. The command
 * line prints its sentence and exits with 1. `code` is for programs, the sentence is for people.
 */
export class RunError extends Error {
  override readonly name = "RunError";
  constructor(
    readonly code: RunErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type RunErrorCode =
  | "peer-lost"
  | "deadline"
  | "worker-failed"
  | "device-failed"
  | "protocol"
  | "bad-batch"
  | "disk"
  | "interrupted"
  | "preempted"
  | "internal";

/** The sentence of any thrown value. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
