import { SILENCE_SECONDS } from "../bridge/failure-detector.ts";
import type { Worker, WorkerExit } from "../bridge/launch.ts";
import { RunError } from "../errors.ts";

/** A worker has lost its connection. The end of its process explains more, see `explained`. */
export class WorkerLost extends RunError {
  constructor(
    /** "the worker", or which rank of several. */
    readonly who: string,
    /** The message that is missing, in words. */
    readonly awaited: string,
    why: string,
  ) {
    super("peer-lost", `${who} was lost, and ${awaited} is missing: ${why}`);
  }
}

/** A better error for a lost worker: how its process exited, or that it was silent and had to be stopped. */
export function explained(
  lost: WorkerLost,
  { pid }: Pick<Worker, "pid">,
  exit: WorkerExit | undefined,
): RunError {
  if (exit === undefined) {
    const silent = `${lost.who} (process ${pid}) did not answer for ${SILENCE_SECONDS} s and was ended`;
    return new RunError("peer-lost", `${silent}; ${lost.awaited} is missing`, { cause: lost });
  }
  return exit.error === "" ? lost : new RunError("worker-failed", exit.error, { cause: lost });
}
