import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../errors.ts";
import { fileError } from "../files/errors.ts";
import { holderOf, tryLock } from "../files/lock.mjs";

/**
 * Keeps other processes from training at a run until the result is called. A process that was killed holds nothing,
 * and its run goes on at once.
 *
 * @throws UserError if another process trains at it
 */
export async function lockRun(folder: string): Promise<() => void> {
  const path = lockOf(folder);
  try {
    for (;;) {
      const free = tryLock(path);
      if (free !== undefined) return free;
      await checkFree(folder);
      await sleep(1);
    }
  } catch (error) {
    throw fileError("write", path, error);
  }
}

/** @throws UserError if a process that is alive trains at the run */
export async function checkFree(folder: string): Promise<void> {
  const pid = holderIn(folder);
  if (pid === undefined) return;
  throw new UserError(
    `${folder} is being trained by process ${pid}; wait for it, or end it: it stops at a checkpoint`,
  );
}

/** The process that trains at the run; undefined if its lock cannot be read, as of another account's run. */
function holderIn(folder: string): number | undefined {
  try {
    return holderOf(lockOf(folder));
  } catch {
    return undefined;
  }
}

function lockOf(folder: string): string {
  return join(folder, "lock");
}
