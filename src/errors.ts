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

/**
 * Text that somebody else has chosen, such as the name of a run, as a terminal may show it: control characters, which
 * could move the cursor, set the title or hide what follows, are written as their escapes.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
