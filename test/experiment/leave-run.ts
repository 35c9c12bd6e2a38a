import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { saveEvaluation } from "../../src/experiment/evaluation.ts";
import { MetricsLog } from "../../src/experiment/metrics-log.ts";
import { type Job, openRun, type Run } from "../../src/experiment/run-folder.ts";
import { randomRows } from "../metrics/rows.ts";

const [K, D] = [24, 6];

export interface Left {
  arms?: readonly string[];
  seeds?: number[];
  /** Settings over the defaults. */
  settings?: Record<string, unknown>;
  /** How far a training came; 100 is its end. -1: it was never evaluated. */
  reached?: (job: Job) => number;
  /** Whether a version measured it that knew no `distinctUsed`. */
  older?: boolean;
}

/** What a run leaves in `runs/NAME` of the current folder, in little: metrics and the last evaluation. */
export async function leaveRun(
  name: string,
  {
    arms = ["joint", "decoupled"],
    seeds = [0],
    settings = {},
    reached = () => 100,
    older = false,
  }: Left = {},
): Promise<Run> {
  const config = (arm: string) =>
    resolveConfig({
      ...settings,
      prototypes: arm === "joint" ? "joint" : "decoupled",
      plugin: { components: K },
      train: { steps: 100, evaluateEvery: 50 },
    });
  const run = await openRun(name, new Map(arms.map((arm) => [arm, config(arm)])), seeds);
  for (const job of run.jobs) await leaveTraining(job, reached(job), older);
  return run;
}

async function leaveTraining({ folder, seed }: Job, reached: number, older: boolean): Promise<void> {
  const log = new MetricsLog(join(folder, "metrics.jsonl"));
  for (let step = 0; step <= reached; step += 10) {
    if (step > 0) await log.append({ step, loss: 5 - step / 100, spread: 0.8, entropy: 2 });
    if (step % 50 !== 0) continue;
    const unique = { "0.025": 1, "0.25": 0.9, "0.5": 0.7 };
    const knn = 0.3 + step / 1000 + seed / 100;
    const rest = { perplexity: 9, seconds: step, effectiveRank: 5 };
    const both = older ? {} : { distinctUsed: { "0.025": 0.5, "0.25": 0.45, "0.5": 0.4 } };
    await log.append({ step, knn, unique, used: 0.5, ...both, ...rest });
  }
  if (reached < 0) return;
  const rows = (seedOf: number, n: number) => ({ shape: [n, D], data: randomRows(n, D, seedOf).data });
  await saveEvaluation(folder, {
    step: reached,
    scalars: {},
    tensors: {
      prototypes: rows(1, K),
      sample: rows(2, 40),
      labels: { shape: [40], data: new Float32Array(40) },
      wins: { shape: [K], data: Float32Array.from({ length: K }, (_, k) => k % 3) },
      classCounts: { shape: [3], data: Float32Array.of(50, 20, 10) },
    },
    classNames: ["cat", "dog", "frog"],
  });
}
