import { join } from "node:path";
import { RunError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { type EvaluationLine, evaluationsOf, readMetrics } from "./metrics-log.ts";
import type { Job, Run } from "./run-folder.ts";
import { readSessions } from "./sessions.ts";
import { interval, mean } from "./statistics.ts";

export interface ArmSummary {
  /** Over seeds: the mean. */
  knn: number;
  unique: Record<string, number>;
  used: number;
  perplexity: number;
  steps: number;
  seeds: number[];
  /** 95 % intervals of the means, where there are two seeds and more. */
  interval?: { knn: [number, number] };
  /** Of all its seeds together, training and evaluation. */
  seconds: number;
}

/** What summary.json holds. */
export interface Summary {
  untrained: { knn: number };
  arms: Record<string, ArmSummary>;
  /** From the first step of the run to its last, without set-up. */
  seconds: number;
}

/** Reads a run's measurements and sums them up. @throws RunError where a training has none yet. */
export async function summarise(run: Run): Promise<Summary> {
  const arms: Record<string, ArmSummary> = {};
  const untrained: number[] = [];
  for (const arm of run.arms.keys()) {
    const ends = await Promise.all(run.jobs.filter((job) => job.arm === arm).map(firstAndLast));
    untrained.push(...ends.map(({ first }) => first.knn));
    arms[arm] = summariseArm(
      run.seeds,
      ends.map(({ last }) => last),
    );
  }
  const sessions = await readSessions(run.folder);
  return {
    untrained: { knn: mean(untrained) },
    arms,
    seconds: sessions.reduce((sum, session) => sum + session.seconds, 0),
  };
}

export async function writeSummary(run: Run, summary: Summary): Promise<void> {
  await writeAtomic(join(run.folder, "summary.json"), [`${JSON.stringify(summary, null, 2)}\n`]);
}

function summariseArm(seeds: number[], last: EvaluationLine[]): ArmSummary {
  const knn = last.map((line) => line.knn);
  const around = interval(knn);
  const epsilons = Object.keys(last[0]?.unique ?? {});
  return {
    knn: mean(knn),
    unique: Object.fromEntries(
      epsilons.map((epsilon) => [epsilon, mean(last.map((line) => line.unique[epsilon] ?? 0))]),
    ),
    used: mean(last.map((line) => line.used)),
    perplexity: mean(last.map((line) => line.perplexity)),
    steps: Math.min(...last.map((line) => line.step)),
    seeds,
    ...(around === null ? {} : { interval: { knn: around } }),
    seconds: last.reduce((sum, line) => sum + line.seconds, 0),
  };
}

async function firstAndLast(job: Job): Promise<{ first: EvaluationLine; last: EvaluationLine }> {
  const lines = evaluationsOf(await readMetrics(join(job.folder, "metrics.jsonl")));
  const first = lines[0];
  const last = lines.at(-1);
  if (first === undefined || last === undefined)
    throw new RunError("internal", `${job.label} has no evaluation yet`);
  return { first, last };
}
