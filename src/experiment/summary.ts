import { join } from "node:path";
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import type { ArmSummary, Difference, Failure, Probed, Summary } from "../report/summary.ts";
import { clockAtCheckpoint } from "./checkpoint.ts";
import { readFailures } from "./failure.ts";
import { type EvaluationLine, evaluationsOf, readMetrics } from "./metrics-log.ts";
import { loadFigures } from "./probe.ts";
import { complete, meanProbed, probedOf } from "./probe-summary.ts";
import { lastStep, type Run } from "./run-folder.ts";
import { readSessions } from "./sessions.ts";
import { interval, mean, pairedTest } from "./statistics.ts";

export type { ArmSummary, Difference, Summary };

/** What one training reached. */
export interface TrainingFigures
  extends Pick<EvaluationLine, "knn" | "unique" | "used" | "distinctUsed" | "perplexity">,
    Partial<Probed> {
  arm: string;
  seed: number;
  steps: number;
  seconds: number;
}

interface Measured extends TrainingFigures {
  untrained: number;
  failed: boolean;
}

/**
 * Reads a run's measurements and sums up how far it has come. Trainings count if they have been evaluated and have not
 * failed. Of each arm, only those that have come furthest count, since a mean over different steps says nothing.
 * With `failedToo`, an arm whose trainings all failed counts too.
 *
 * @throws UserError if there are none.
 */
export async function summarise(run: Run, { failedToo = false } = {}): Promise<Summary> {
  const failures = await readFailures(run);
  const all = await measurementsOf(run, failures);
  const byArm = [...run.arms.keys()]
    .map((arm) => {
      const own = all.filter((each) => each.arm === arm);
      const sound = own.filter(({ failed }) => !failed);
      return [arm, furthest(failedToo && sound.length === 0 ? own : sound)] as const;
    })
    .filter(([, trainings]) => trainings.length > 0);
  const measured = byArm.flatMap(([, trainings]) => trainings);
  if (measured.length === 0) {
    throw new UserError(`runs/${run.name} has no evaluation yet, so there is nothing to show of it`);
  }
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
  return measured.flatMap(({ untrained, failed, ...figures }) => (failed ? [] : figures));
}

/** The paired test of `a` less `b` over the seeds that both have; null for fewer than two. */
export function difference(
  a: readonly TrainingFigures[],
  b: readonly TrainingFigures[],
): Omit<Difference, "arms"> | null {
  const pairs = a.flatMap((one) => {
    const other = b.find(({ seed }) => seed === one.seed);
    return other === undefined ? [] : [{ one, other }];
  });
  const test = (of: (training: TrainingFigures) => number | undefined) => {
    const [left, right] = [
      complete(pairs.map(({ one }) => of(one))),
      complete(pairs.map(({ other }) => of(other))),
    ];
    return left && right && pairedTest(left, right);
  };
  const knn = test((training) => training.knn);
  const linear = test((training) => training.linear);
  return knn && { seeds: pairs.map(({ one }) => one.seed), knn, ...(linear && { linear }) };
}

/** Whether every training has reached its last step, or has failed. */
export async function hasEnded(run: Run): Promise<boolean> {
  const failures = await readFailures(run);
  const measured = await measurementsOf(run, failures);
  return run.jobs.every(({ arm, seed, config }) => {
    const own = measured.find((each) => each.arm === arm && each.seed === seed);
    return (
      (own?.steps ?? 0) >= lastStep({ config }) ||
      failures.some((each) => each.arm === arm && each.seed === seed)
    );
  });
}

export async function writeSummary(run: Run, summary: Summary): Promise<void> {
  await writeAtomic(join(run.folder, "summary.json"), [`${JSON.stringify(summary, null, 2)}\n`]);
}

function furthest(trainings: Measured[]): Measured[] {
  const steps = Math.max(...trainings.map((training) => training.steps));
  return trainings.filter((training) => training.steps === steps);
}

function differencesFrom(byArm: (readonly [string, Measured[]])[]): Difference[] {
  const [first, ...others] = byArm;
  if (first === undefined) return [];
  return others.flatMap(([arm, trainings]) => {
    const found = first[1][0]?.steps === trainings[0]?.steps ? difference(trainings, first[1]) : null;
    return found === null ? [] : [{ arms: [arm, first[0]] satisfies [string, string], ...found }];
  });
}

function summariseArm(trainings: Measured[]): ArmSummary {
  const over = (of: (training: Measured) => number) => mean(trainings.map(of));
  const around = interval(trainings.map(({ knn }) => knn));
  const linear = complete(trainings.map((training) => training.linear));
  const aroundLinear = linear && interval(linear);
  const epsilons = Object.keys(trainings[0]?.unique ?? {});
  const { distinctUsed, around: aroundDistinct } = meanDistinctUsed(trainings);
  return {
    knn: over(({ knn }) => knn),
    unique: Object.fromEntries(
      epsilons.map((epsilon) => [epsilon, over(({ unique }) => unique[epsilon] ?? 0)]),
    ),
    used: over(({ used }) => used),
    ...(distinctUsed && { distinctUsed }),
    perplexity: over(({ perplexity }) => perplexity),
    steps: Math.min(...trainings.map(({ steps }) => steps)),
    seeds: trainings.map(({ seed }) => seed),
    ...meanProbed(trainings),
    ...(around && {
      interval: {
        knn: around,
        ...(aroundLinear && { linear: aroundLinear }),
        ...(aroundDistinct && { distinctUsed: aroundDistinct }),
      },
    }),
    seconds: trainings.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

/** By epsilon, of those at which every training has it: the mean, and with several trainings its interval. */
function meanDistinctUsed(trainings: readonly Measured[]): {
  distinctUsed?: Record<string, number>;
  around?: Record<string, [number, number]>;
} {
  const known = Object.keys(trainings[0]?.distinctUsed ?? {}).flatMap((epsilon) => {
    const values = complete(trainings.map(({ distinctUsed }) => distinctUsed?.[epsilon]));
    return values === null ? [] : [{ epsilon, mean: mean(values), around: interval(values) }];
  });
  if (known.length === 0) return {};
  const around = known.flatMap((one) => (one.around === null ? [] : [[one.epsilon, one.around] as const]));
  return {
    distinctUsed: Object.fromEntries(known.map((one) => [one.epsilon, one.mean])),
    ...(around.length > 0 && { around: Object.fromEntries(around) }),
  };
}

async function measurementsOf(run: Run, failures: readonly Failure[]): Promise<Measured[]> {
  const all = await Promise.all(
    run.jobs.map(async ({ arm, seed, folder }): Promise<Measured | null> => {
      const lines = evaluationsOf(await readMetrics(join(folder, "metrics.jsonl")));
      const [first, last] = [lines[0], lines.at(-1)];
      if (first === undefined || last === undefined) return null;
      const { knn, unique, used, distinctUsed, perplexity, step: steps } = last;
      // The linear probe comes between the last evaluation and the last checkpoint.
      const clock = await clockAtCheckpoint(join(folder, "checkpoints"));
      const seconds = Math.max(last.seconds, clock?.seconds ?? 0);
      const failed = failures.some((each) => each.arm === arm && each.seed === seed);
      const found = await loadFigures(folder);
      const probed = found === null ? {} : probedOf(found);
      const measures = { unique, used, ...(distinctUsed && { distinctUsed }), perplexity };
      const own = { arm, seed, knn, ...probed, ...measures, steps, seconds };
      return { ...own, untrained: first.knn, failed };
    }),
  );
  return all.filter((each) => each !== null);
}
