import type { Command } from "./protocol.ts";

/** Milliseconds for the first part of a rank, if its deadline is shorter: it compiles, and fills its caches. */
const FIRST_PART = 180_000;
/** A part may take this many times as long as the longest one before it, if the deadline is shorter. */
const SLOWER = 10;
/** Milliseconds that this process takes to read what arrived while it was stopped itself. */
const UNREAD = 100;

/** Milliseconds. */
interface Deadlines {
  /** Of one command. */
  command: number;
  /** Of the part of a step, at least; null: the rank may take as long as it likes. */
  part: number | null;
}

/**
 * What a rank still has to send: the results of its commands, in order, then its part of the next step. Each has a
 * deadline of its own. A rank that hangs keeps its connection, so nothing else would notice.
 */
export class Awaited {
  private commands: { command: Command; step: number }[] = [];
  private step = 0;
  /** When the part was asked for; undefined if commands come before it, or if it has come. */
  private asked: number | undefined;
  private longest = 0;
  private timer: NodeJS.Timeout | undefined;

  /** `overdue` is called with a sentence when a deadline has passed. */
  constructor(
    private readonly deadlines: Deadlines,
    private readonly overdue: (why: string) => void,
  ) {}

  /** The rank gets these commands, which it carries out after `step` steps, and then takes the next step. */
  expect(commands: readonly Command[], step: number): void {
    for (const command of commands) this.commands.push({ command, step });
    this.step = step;
    this.asked = this.commands.length === 0 ? performance.now() : undefined;
    this.wait();
  }

  /**
   * Notes a result. False if it is not the next one: it is a repetition, or nobody asked for it. `retried`: the rank
   * failed and tries the command again, so the result is still owed.
   */
  result(command: Command, step: number, retried = false): boolean {
    const [next] = this.commands;
    if (next?.command !== command || next.step !== step) return false;
    if (!retried) this.commands.shift();
    this.wait();
    return true;
  }

  /** Notes the rank's part of the step. */
  part(): void {
    clearTimeout(this.timer);
    if (this.asked !== undefined) this.longest = Math.max(this.longest, performance.now() - this.asked);
    this.asked = undefined;
  }

  /** The next result, such as "the result of evaluate after step 10"; undefined if none is owed. */
  get owed(): string | undefined {
    const [next] = this.commands;
    return next && `the result of ${next.command} after step ${next.step}`;
  }

  /** Forgets all that is awaited. */
  end(): void {
    this.commands = [];
    this.asked = undefined;
    clearTimeout(this.timer);
  }

  private wait(): void {
    clearTimeout(this.timer);
    const { command, part } = this.deadlines;
    if (this.owed !== undefined) this.within(command, this.owed, "bridge.commandDeadline");
    else if (part !== null) {
      const usual = this.longest > 0 ? SLOWER * this.longest : FIRST_PART;
      this.within(Math.max(part, usual), `its part of step ${this.step}`, "bridge.deadline");
    }
  }

  private within(deadline: number, what: string, setting: string): void {
    const seconds = Number((deadline / 1000).toPrecision(2));
    const why = `${what} did not come within ${seconds} s (${setting} allows for longer)`;
    this.timer = setTimeout(() => {
      this.timer = setTimeout(() => this.overdue(why), UNREAD);
    }, deadline);
  }
}
