import { sentence } from "../errors.ts";
import { geometry, geometryInUse } from "../metrics/uniqueness.ts";
import type { PrototypesInUse } from "../mixture/mixture.ts";
import { prefixed } from "../mixture/prefix.ts";

/** They are measured at most once in so many steps ... */
const UNIQUE_EVERY = 100;
/** ... and takes at most one part in so many of the time, the first time too: at K = 65,536 it is a minute's work. */
const UNIQUE_SHARE = 20;
/** A guess at what a core multiplies in a millisecond, for how long that first time will be. */
const PRODUCTS_PER_MS = 1e7;

/**
 * How far apart the prototypes are, and those in use, as scalars that travel with every answer once they are
 * measured: "unique.0.025", "distinctUsed.0.025" and so on. They are measured beside the steps, which do not
 * wait for it.
 */
export class Measures {
  private scalars: Record<string, number> = {};
  private measuring = false;
  private readonly ended = new AbortController();
  private nextStep = 0;
  private nextTime: number;

  constructor(components: number, dim: number) {
    const pairs = components ** 2 / 2;
    this.nextTime = performance.now() + UNIQUE_SHARE * ((pairs * dim) / PRODUCTS_PER_MS);
  }

  /** After step `step`. */
  note(step: number, read: () => Promise<PrototypesInUse>): Record<string, number> {
    if (!this.measuring && step >= this.nextStep && performance.now() >= this.nextTime) {
      this.nextStep = step + UNIQUE_EVERY;
      this.measuring = true;
      void this.measure(read);
    }
    return this.scalars;
  }

  /** Leaves off what is being measured, which would keep the process from ending. */
  stop(): void {
    this.ended.abort();
  }

  private async measure(read: () => Promise<PrototypesInUse>): Promise<void> {
    const start = performance.now();
    try {
      const onProgress = () => this.ended.signal.throwIfAborted();
      const { prototypes, used } = await read();
      const { n, d, data } = prototypes;
      const rows = { rows: n, dim: d, data: new Float32Array(data) };
      const measured = used
        ? await geometryInUse(rows, used, { onProgress })
        : { ...(await geometry(rows, { onProgress })), distinctUsed: {} };
      this.scalars = {
        ...prefixed("unique", measured.unique),
        ...prefixed("distinctUsed", measured.distinctUsed),
      };
    } catch (error) {
      if (this.ended.signal.aborted) return;
      process.emitWarning(`uniqueness was not measured: ${sentence(error)}`);
    }
    this.nextTime = performance.now() + UNIQUE_SHARE * (performance.now() - start);
    this.measuring = false;
  }
}
