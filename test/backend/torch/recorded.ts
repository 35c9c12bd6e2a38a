import { withBackend } from "../../../src/backend/context.ts";
import type { DeviceOptions } from "../../../src/backend/torch/device.ts";
import { type Run, TorchBackend } from "../../../src/backend/torch/index.ts";
import { encode } from "../../../src/bridge/codec.ts";
import { runInfo, runTensors } from "../../../src/bridge/runs.ts";

/** A backend whose runs go nowhere but into a list: what is queued, named and sent can be seen without a device. */
export class Recorded {
  readonly runs: Run[] = [];
  readonly backend: TorchBackend;

  constructor(options: DeviceOptions = {}) {
    this.backend = new TorchBackend({ send: (run) => this.runs.push(run) }, options);
  }

  /** Does `work` on this backend, and what it awaits too. */
  on<T>(work: () => T): T {
    return withBackend("torch", this.backend, work);
  }

  /** What `work` queues, as one run; undefined where that is nothing. */
  runOf(work: () => unknown): Run | undefined {
    return this.on(() => {
      work();
      return this.backend.flush() ?? undefined;
    });
  }
}

/** A run's program in words: "Add 0 1", by slots. */
export function codeOf(run: Run | undefined): string[] {
  if (run?.definition === undefined) return [];
  const { code }: { code: [string, number[]][] } = JSON.parse(new TextDecoder().decode(run.definition));
  return code.map(([kernel, slots]) => [kernel, ...slots].join(" "));
}

/** Bytes of the message that carries a run by itself, in all frames. */
export function bytesOf(run: Run): number {
  const frames = encode({ type: "execute", generation: "0".repeat(16), run: runInfo(run) }, runTensors(run));
  return frames.reduce((sum, frame) => sum + frame.length, 0);
}
