import type { Worker, WorkerExit } from "../bridge/launch.ts";
import { SILENCE_SECONDS } from "../bridge/server.ts";
import { RunError } from "../errors.ts";

/** A worker whose connection is gone. How its process ended, if it did, says more. */
export class WorkerLost extends RunError {
  constructor(
    /** "the worker", or which rank of several. */
    readonly who: string,
    /** What it had still to send, in words. */
    readonly awaited: string,
    why: string,
  ) {
    super("peer-lost", `${who} was lost, and ${awaited} is missing: ${why}`);
  }
}

/** The better sentence for a lost worker: how it ended by itself; or, where it did not and had to be ended, that it was silent. */
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
