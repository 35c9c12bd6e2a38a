import { setTimeout as sleep } from "node:timers/promises";
import { RunError, sentence } from "../errors.ts";

/** Between two tries. */
const RETRY_MS = 5000;

/** What a training does where the disk is full or read-only: `train.diskFull`. */
export class Disk {
  private readonly over = new AbortController();

  /** `note` hears that a write waits, and that it was made. */
  constructor(
    private readonly whereFull: "end" | "wait",
    private readonly note: (text: string) => void,
  ) {}

  /**
   * Makes a write that may be made again where it failed.
   *
   * @throws what it fails with, at once or after `giveUp` where that is RunError "disk" and it is to wait.
   */
  async write<T>(write: () => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        const made = await write();
        if (tries > 0) this.note("the disk can be written to again: the run goes on");
        return made;
      } catch (error) {
        if (!this.waitsFor(error)) throw error;
        if (tries === 0) this.sayThatItWaits(sentence(error));
        await sleep(RETRY_MS, undefined, { signal: this.over.signal }).catch(() => {});
      }
    }
  }

  /** A write of the worker's has failed, which it makes again where it is to wait. @throws RunError where it is not. */
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
