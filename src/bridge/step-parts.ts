import type { Part } from "./gather.ts";

/** The parts of the next step that have arrived, and the deadline of the others, which begins with the first one. */
export class StepParts {
  private parts = new Map<number, Part>();
  private timer: NodeJS.Timeout | undefined;
  private complete = false;

  /** `overdue` is called `deadline` milliseconds after the first part if others are missing. */
  constructor(
    private readonly deadline: number,
    private readonly overdue: () => void,
  ) {}

  /** Whether the part of a rank is here. */
  has(rank: number): boolean {
    return this.parts.has(rank);
  }

  /** Adds the part of a rank. True if all `size` ranks' parts are here. Then the step will be answered, whatever happens. */
  add(rank: number, part: Part, size: number): boolean {
    this.parts.set(rank, part);
    this.complete = this.parts.size === size;
    if (this.complete) clearTimeout(this.timer);
    else if (this.parts.size === 1) this.wait();
    return this.complete;
  }

  /** The parts by rank, in the order of the ranks. */
  sorted(): [number, Part][] {
    return [...this.parts].sort(([a], [b]) => a - b);
  }

  /** Begins the deadline anew, if parts are missing. */
  extend(): void {
    if (this.parts.size > 0 && !this.complete) this.wait();
  }

  /** Forgets the parts, unless all are here. The result is the ranks whose parts were forgotten. */
  abandon(): number[] {
    if (this.complete) return [];
    const ranks = [...this.parts.keys()];
    this.clear();
    return ranks;
  }

  /** Forgets the parts. */
  clear(): void {
    clearTimeout(this.timer);
    this.parts = new Map();
    this.complete = false;
  }

  private wait(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.overdue, this.deadline);
  }
}
