import type { Datum } from "./datum.ts";

/** The tensors that the device holds after the runs so far. */
export class Ledger {
  /** Bytes of the tensors that are held. */
  bytes = 0;
  private readonly held = new Set<Datum>();
  private freed: number[] = [];
  private last = 0;

  /** The handle that the next tensor gets. */
  get next(): number {
    return this.last + 1;
  }

  /** The number of tensors on the device, including those that wait to be freed. */
  get size(): number {
    return this.held.size + this.freed.length;
  }

  bind(datum: Datum): number {
    datum.handle = ++this.last;
    this.held.add(datum);
    this.bytes += datum.bytes;
    return datum.handle;
  }

  /** Makes the next run free it. */
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

  /** Removes and returns the handles that the next run has to free. */
  takeFreed(): number[] {
    const freed = this.freed;
    this.freed = [];
    return freed;
  }

  /** Undoes a failed run, which has created and freed nothing. */
  undo(made: readonly Datum[], free: readonly number[]): void {
    const never = new Set(made.map((datum) => datum.handle));
    this.freed = [...free, ...this.freed].filter((handle) => !never.has(handle));
    for (const datum of made) if (this.held.delete(datum)) this.bytes -= datum.bytes;
  }
}
