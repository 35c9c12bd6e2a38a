import type { Command } from "./protocol.ts";

/** The commands of a rank whose results have not come yet, in order. Each has a deadline of its own. */
export class Owed {
  private commands: { command: Command; step: number }[] = [];
  private timer: NodeJS.Timeout | undefined;

  /** `deadline`: milliseconds for one command; `overdue` is called when they have passed. */
  constructor(
    private readonly deadline: number,
    private readonly overdue: () => void,
  ) {}

  /** Adds commands that the rank carries out after `step` steps. */
  add(commands: readonly Command[], step: number): void {
    const idle = this.commands.length === 0;
    for (const command of commands) this.commands.push({ command, step });
    if (idle) this.begin();
  }

  /**
   * Notes a result. False if it is not the next one: it is a repetition, or nobody asked for it. `retried`: the rank
   * failed and tries the command again, so the result is still owed.
   */
  take(command: Command, step: number, retried = false): boolean {
    const [next] = this.commands;
    if (next?.command !== command || next.step !== step) return false;
    if (!retried) this.commands.shift();
    this.begin();
    return true;
  }

  /** The next result, such as "the result of evaluate after step 10"; undefined if none is owed. */
  get next(): string | undefined {
    const [next] = this.commands;
    return next && `the result of ${next.command} after step ${next.step}`;
  }

  /** Forgets all commands. */
  end(): void {
    this.commands = [];
    clearTimeout(this.timer);
  }

  private begin(): void {
    clearTimeout(this.timer);
    if (this.commands.length > 0) this.timer = setTimeout(this.overdue, this.deadline);
  }
}
