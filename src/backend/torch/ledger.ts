import type { Datum } from "./datum.ts";

/** Which tensors the device holds, as far as runs that were cut have told it. */
export class Ledger {
  /** Bytes of what the device holds, what waits to be freed included. */
  bytes = 0;
  private readonly held = new Set<Datum>();
  private freed: number[] = [];
  private last = 0;

  /** The handle that the next tensor gets. */
  get next(): number {
    return this.last + 1;
  }

  /** How many tensors the device holds. */
  get size(): number {
    return this.held.size + this.freed.length;
  }

  bind(datum: Datum): number {
    datum.handle = ++this.last;
    this.held.add(datum);
    this.bytes += datum.bytes;
    return datum.handle;
  }

  /** The next run frees it. */
  release(datum: Datum): void {
    if (!this.held.delete(datum)) return;
    this.bytes -= datum.bytes;
    this.freed.push(datum.handle);
  }

  releaseAll(): void {
    for (const datum of this.held) {
      this.freed.push(datum.handle);
      datum.handle = 0;
    }
    this.held.clear();
    this.bytes = 0;
  }

  /** The handles that a run is to free. */
  takeFreed(): number[] {
    const freed = this.freed;
    this.freed = [];
    return freed;
  }

  /** A run failed: what it was to make never came into being, and what it was to free is still there. */
  undo(made: readonly Datum[], free: readonly number[]): void {
    const never = new Set(made.map((datum) => datum.handle));
    this.freed = [...free, ...this.freed].filter((handle) => !never.has(handle));
    for (const datum of made) if (this.held.delete(datum)) this.bytes -= datum.bytes;
  }
}
