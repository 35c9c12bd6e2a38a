import { setImmediate as nextTurn } from "node:timers/promises";
import { UserError } from "../errors.ts";

let last: Promise<unknown> = Promise.resolve();
/** Whether the loop of a session is open. A run that is started inside would wait for it forever. */
let looping = false;

/** Runs one experiment at a time, since its workers use all cores or GPUs. Later ones wait. */
export function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (looping) {
    return Promise.reject(
      new UserError("the loop of a session is open in this process: end it before the next run begins"),
    );
  }
  const done = last.then(work);
  last = done.catch(() => {});
  return done.then((result) => result); // a new promise, so that an unhandled failure is reported
}

/** The same for the loop of a session, until the returned function is called. */
export async function holdForLoop(): Promise<() => void> {
  if (looping) throw new UserError("the loop of another session is open in this process: end it first");
  looping = true;
  await last;
  return () => {
    looping = false;
  };
}

/** Settles when all runs have ended, including runs queued meanwhile. */
export async function allEnded(): Promise<void> {
  let awaited: unknown;
  while (awaited !== last) {
    awaited = last;
    await last;
    await nextTurn(); // code that waited for that run may queue another; unhandled failures are reported
  }
}
