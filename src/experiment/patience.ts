import type { Command } from "../bridge/protocol.ts";
import { RunError } from "../errors.ts";

/** Seconds that a worker may take to load torch, data and encoder, and for its first step, where its deadline is less. */
const START_SECONDS = 180;
/** A step may take so many times as long as the longest one before it, where the deadline is less. */
const SLOWER = 10;
const UNREAD_MS = 100;

/**
 * How long a worker may take for a step. One that hangs keeps its connection, so nothing else would notice. Commands have
 * a deadline of their own, in the bridge.
 */
export class Patience {
  /** Results of commands that are still to come. */
  private owed = 0;
  /** When the step under way was asked for; undefined where commands come before it. */
  private asked: number | undefined;
  private longest = 0;
  private timer: NodeJS.Timeout | undefined;
  private over = false;

  /** `deadline` in seconds; `lost` hears that it has passed. */
  constructor(
    private readonly deadline: number,
    private readonly lost: (error: RunError) => void,
  ) {}

  /** The worker has its answer, or was started: the next thing to come is `what`, after the commands' results. */
  expect(what: string, commands: readonly Command[] = []): void {
    this.owed += commands.length;
    this.asked = this.owed === 0 ? performance.now() : undefined;
    this.wait(what);
  }

  /** A result has come. */
  result(next: string): void {
    this.owed--;
    this.wait(next);
  }

  /** The worker's part of a step has come: now it waits, for us. */
  came(): void {
    clearTimeout(this.timer);
    if (this.asked !== undefined) this.longest = Math.max(this.longest, performance.now() - this.asked);
  }

  /** Nothing is expected any more. */
  end(): void {
    this.over = true;
    clearTimeout(this.timer);
  }

  private wait(what: string): void {
    clearTimeout(this.timer);
    if (this.owed > 0 || this.over) return;
    const usual = this.longest > 0 ? (SLOWER * this.longest) / 1000 : START_SECONDS;
    const seconds = Math.max(usual, this.deadline);
    const hangs = () => {
      const why = `the worker hangs: ${what} did not come within ${Math.round(seconds)} s`;
      this.lost(new RunError("deadline", `${why} (bridge.deadline allows for longer)`));
    };
    this.timer = setTimeout(() => {
      this.timer = setTimeout(hangs, UNREAD_MS); // where this process was stopped, what came meanwhile is read first
    }, 1000 * seconds);
  }
}
