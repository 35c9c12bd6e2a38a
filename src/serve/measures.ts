import { sentence } from "../errors.ts";
import { geometry, geometryInUse } from "../metrics/uniqueness.ts";
import type { PrototypesInUse } from "../mixture/mixture.ts";
import { prefixed } from "../mixture/prefix.ts";

/** The distances are measured at most once in this many steps. */
const UNIQUE_EVERY = 100;
/** Measuring takes at most 1/20 of the time, the first time too: at K = 65,536 it takes a minute. */
const UNIQUE_SHARE = 20;
/** An estimate of the multiplications that a core does in a millisecond; it predicts the first measurement's duration. */
const PRODUCTS_PER_MS = 1e7;

/**
 * How distinct the prototypes are, all of them and those in use, as scalars that every answer carries once they are
 * measured: "unique.0.025", "distinctUsed.0.025" and so on. They are measured in the background; steps do not wait for
 * them.
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

  /** Call it after step `step`: starts a measurement if one is due, and returns the latest scalars. */
  note(step: number, read: () => Promise<PrototypesInUse>): Record<string, number> {
    if (!this.measuring && step >= this.nextStep && performance.now() >= this.nextTime) {
      this.nextStep = step + UNIQUE_EVERY;
      this.measuring = true;
      void this.measure(read);
    }
    return this.scalars;
  }

  /** Aborts the current measurement, which would keep the process alive. */
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
