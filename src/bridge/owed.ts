import type { Command } from "./protocol.ts";

/** The commands that a rank was given and has sent no result of, in order. Each has a deadline of its own. */
export class Owed {
  private commands: { command: Command; step: number }[] = [];
  private timer: NodeJS.Timeout | undefined;

  /** `deadline`: milliseconds for one command; `overdue` hears that they have passed. */
  constructor(
    private readonly deadline: number,
    private readonly overdue: () => void,
  ) {}

  /** Commands to carry out after `step` steps. */
  add(commands: readonly Command[], step: number): void {
    const idle = this.commands.length === 0;
    for (const command of commands) this.commands.push({ command, step });
    if (idle) this.begin();
  }

  /**
   * A result has come. False if it is not the next one: it came before, or nobody asked for it. `retried`: the command
   * failed and is tried again, so its result is still to come.
   */
  take(command: Command, step: number, retried = false): boolean {
    const [next] = this.commands;
    if (next?.command !== command || next.step !== step) return false;
    if (!retried) this.commands.shift();
    this.begin();
    return true;
  }

  /** What comes next, such as "the result of evaluate after step 10"; undefined where there is nothing to come. */
  get next(): string | undefined {
    const [next] = this.commands;
    return next && `the result of ${next.command} after step ${next.step}`;
  }

  /** Nothing is to come any more. */
  end(): void {
    this.commands = [];
    clearTimeout(this.timer);
  }

  private begin(): void {
    clearTimeout(this.timer);
    if (this.commands.length > 0) this.timer = setTimeout(this.overdue, this.deadline);
  }
}
