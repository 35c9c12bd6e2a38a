import { setTimeout as sleep } from "node:timers/promises";
import { RunError, sentence } from "../errors.ts";

/** Between two tries. */
const RETRY_MS = 5000;

/** Handles a full or read-only disk as `train.diskFull` says. */
export class Disk {
  private readonly over = new AbortController();

  /** `note` is called when a write waits, and when it has succeeded. */
  constructor(
    private readonly whereFull: "end" | "wait",
    private readonly note: (text: string) => void,
  ) {}

  /**
   * Makes a write that can be repeated after a failure.
   *
   * @throws the write's error: at once, or after `giveUp` if it is RunError "disk" and `train.diskFull` is wait.
   */
  async write<T>(write: () => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        const made = await write();
        if (tries > 0) this.note("the disk can be written to again: the run continues");
        return made;
      } catch (error) {
        if (!this.waitsFor(error)) throw error;
        if (tries === 0) this.sayThatItWaits(sentence(error));
        await sleep(RETRY_MS, undefined, { signal: this.over.signal }).catch(() => {});
      }
    }
  }

  /** A write of the worker failed. It tries again if `train.diskFull` is wait. @throws RunError otherwise */
  workerFailed(why: string): void {
    const error = new RunError("disk", why);
    if (!this.waitsFor(error)) throw error;
    this.sayThatItWaits(why);
  }

  /** Waits no longer. */
  giveUp(): void {
    this.over.abort();
  }

  private waitsFor(error: unknown): boolean {
    const mayPass = error instanceof RunError && error.code === "disk";
    return mayPass && this.whereFull === "wait" && !this.over.signal.aborted;
  }

  private sayThatItWaits(why: string): void {
    this.note(`${why}; the run waits until it can be written (train.diskFull: wait)`);
  }
}
