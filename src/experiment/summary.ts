import { join } from "node:path";
import { RunError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { type Failure, readFailures } from "./failure.ts";
import { type EvaluationLine, evaluationsOf, readMetrics } from "./metrics-log.ts";
import type { Job, Run } from "./run-folder.ts";
import { readSessions } from "./sessions.ts";
import { interval, mean, type PairedTest, pairedTest } from "./statistics.ts";

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

/** How an arm differs from the first one, over the seeds that both have finished. */
export interface Difference {
  /** The difference is the first less the second. */
  arms: [string, string];
  seeds: number[];
  knn: PairedTest;
}

/** What summary.json holds. */
export interface Summary {
  untrained: { knn: number };
  arms: Record<string, ArmSummary>;
  /** Of every arm from the first one, where they have two seeds and more in common. */
  differences?: Difference[];
  /** The trainings that failed; the other figures are of those that did not. */
  failures?: Failure[];
  /** From the first step of the run to its last, without set-up. */
  seconds: number;
}

/** What one training reached. */
export interface TrainingFigures extends Pick<EvaluationLine, "knn" | "unique" | "used" | "perplexity"> {
  arm: string;
  seed: number;
  steps: number;
  seconds: number;
}

interface Measured extends TrainingFigures {
  untrained: number;
}

/** Reads a run's measurements and sums them up. @throws RunError where a training has none yet. */
export async function summarise(run: Run): Promise<Summary> {
  const failures = await readFailures(run);
  const measured = await measurementsOf(run, failures);
  if (measured.length === 0) throw new RunError("internal", `no training of ${run.name} has reached its end`);
  const byArm = [...run.arms.keys()]
    .map((arm) => [arm, measured.filter((each) => each.arm === arm)] as const)
    .filter(([, trainings]) => trainings.length > 0);
  const differences = differencesFrom(byArm);
  const sessions = await readSessions(run.folder);
  return {
    untrained: { knn: mean(measured.map(({ untrained }) => untrained)) },
    arms: Object.fromEntries(byArm.map(([arm, trainings]) => [arm, summariseArm(trainings)])),
    ...(differences.length > 0 && { differences }),
    ...(failures.length > 0 && { failures }),
    seconds: sessions.reduce((sum, session) => sum + session.seconds, 0),
  };
}

/** The figures of each training that has not failed, by seed and then by arm. */
export async function readTrainings(run: Run): Promise<TrainingFigures[]> {
  const measured = await measurementsOf(run, await readFailures(run));
  return measured.map(({ untrained, ...figures }) => figures);
}

/** The paired test of `a` less `b` over the seeds that both have; null for fewer than two. */
export function difference(
  a: readonly TrainingFigures[],
  b: readonly TrainingFigures[],
): Pick<Difference, "seeds" | "knn"> | null {
  const pairs = a.flatMap((one) => {
    const other = b.find(({ seed }) => seed === one.seed);
    return other === undefined ? [] : [{ seed: one.seed, a: one.knn, b: other.knn }];
  });
  const knn = pairedTest(
    pairs.map((pair) => pair.a),
    pairs.map((pair) => pair.b),
  );
  return knn && { seeds: pairs.map(({ seed }) => seed), knn };
}

export async function writeSummary(run: Run, summary: Summary): Promise<void> {
  await writeAtomic(join(run.folder, "summary.json"), [`${JSON.stringify(summary, null, 2)}\n`]);
}

function differencesFrom(byArm: (readonly [string, Measured[]])[]): Difference[] {
  const [first, ...others] = byArm;
  if (first === undefined) return [];
  return others.flatMap(([arm, trainings]) => {
    const found = difference(trainings, first[1]);
    return found === null ? [] : [{ arms: [arm, first[0]] satisfies [string, string], ...found }];
  });
}

function summariseArm(trainings: Measured[]): ArmSummary {
  const over = (of: (training: Measured) => number) => mean(trainings.map(of));
  const around = interval(trainings.map(({ knn }) => knn));
  const epsilons = Object.keys(trainings[0]?.unique ?? {});
  return {
    knn: over(({ knn }) => knn),
    unique: Object.fromEntries(
      epsilons.map((epsilon) => [epsilon, over(({ unique }) => unique[epsilon] ?? 0)]),
    ),
    used: over(({ used }) => used),
    perplexity: over(({ perplexity }) => perplexity),
    steps: Math.min(...trainings.map(({ steps }) => steps)),
    seeds: trainings.map(({ seed }) => seed),
    ...(around === null ? {} : { interval: { knn: around } }),
    seconds: trainings.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

function measurementsOf(run: Run, failures: readonly Failure[]): Promise<Measured[]> {
  const failed = ({ arm, seed }: Job) => failures.some((each) => each.arm === arm && each.seed === seed);
  return Promise.all(run.jobs.filter((job) => !failed(job)).map(measured));
}

async function measured({ arm, seed, label, folder }: Job): Promise<Measured> {
  const lines = evaluationsOf(await readMetrics(join(folder, "metrics.jsonl")));
  const first = lines[0];
  const last = lines.at(-1);
  if (first === undefined || last === undefined)
    throw new RunError("internal", `${label} has no evaluation yet`);
  const { knn, unique, used, perplexity, step: steps, seconds } = last;
  return { arm, seed, knn, unique, used, perplexity, steps, seconds, untrained: first.knn };
}
