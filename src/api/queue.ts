import { setImmediate as nextTurn } from "node:timers/promises";
import { UserError } from "../errors.ts";

let last: Promise<unknown> = Promise.resolve();
/** Whether the loop of a session is open: what waits for it from inside would wait forever. */
let looping = false;

/** One run at a time: the workers of one use all cores or GPUs. What is begun meanwhile waits. */
export function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (looping) {
    return Promise.reject(
      new UserError("the loop of a session is open in this process: end it before the next run begins"),
    );
  }
  const done = last.then(work);
  last = done.catch(() => {});
  return done.then((result) => result); // a promise of its own, so that a failure nobody waits for is reported
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

/** Settles when all runs that were begun have ended, those that others were followed by too. */
export async function allEnded(): Promise<void> {
  let awaited: unknown;
  while (awaited !== last) {
    awaited = last;
    await last;
    await nextTurn(); // what waited for that run may begin another; what nobody waited for is reported
  }
}
