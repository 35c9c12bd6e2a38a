import { resolveConfig } from "../../src/config/load.ts";
import { trainRun } from "../../src/experiment/run.ts";
import { openRun } from "../../src/experiment/run-folder.ts";
import type { Placement } from "../../src/mixture/placement.ts";
import { findWorker, type Sample, sample } from "./samples.ts";

/** How often a run is looked at. */
const SAMPLES = 100;

/** A run whose steps are quick: the smallest encoder on tiny images. It evaluates and takes checkpoints ten times. */
function settings(placement: Placement, steps: number, seed: number): object {
  const often = Math.ceil(steps / 10);
  return {
    seed,
    placement,
    device: "cpu",
    data: { train: 64, test: 32 },
    encoder: { name: "conv-small" },
    head: { hidden: 16, dim: 8 },
    train: { steps, batch: 4, onlineProbe: false, evaluateEvery: often, checkpointEvery: often },
    views: { global: 2, local: 0, globalSize: 8 },
    plugin: { components: 16 },
  };
}

/** Trains so many steps in `runs/` of the current folder. What the run held at even distances. */
export async function soak(placement: Placement, steps: number, seed: number): Promise<Sample[]> {
  const config = resolveConfig(settings(placement, steps, seed));
  const run = await openRun(placement, new Map([[config.prototypes, config]]), [seed]);
  const every = Math.max(1, Math.floor(steps / SAMPLES));
  const taken: Promise<Sample>[] = [];
  let worker: Promise<number> | undefined;
  await trainRun(run, {
    signal: new AbortController().signal,
    events: { note: () => {}, started: () => {}, progress: () => {}, ended: () => {} },
    hooks: [
      (_, { step, knn }) => {
        // The last step's worker may have ended.
        if (knn !== undefined || step % every > 0 || step >= steps) return;
        worker ??= findWorker();
        taken.push(worker.then((pid) => sample(step, pid)));
      },
    ],
  });
  return Promise.all(taken);
}
