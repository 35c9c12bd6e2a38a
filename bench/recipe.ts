import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { sentence, UserError } from "../src/errors.ts";
import { evaluationsOf, readMetrics } from "../src/experiment/metrics-log.ts";
import { loadFigures } from "../src/experiment/probe.ts";
import { interval, mean, pairedTest } from "../src/experiment/statistics.ts";
import { median } from "./statistics.ts";

export interface Trained {
  name: string;
  seed: number;
  /** Of the last evaluation. */
  step: number;
  /** k-NN by step. */
  knn: [number, number][];
  /** The last evaluation's measures, and the probe's where there was one, in [0, 1]. */
  measures: Record<string, number>;
  stepSeconds: number;
}

const NAME = /^(.+)-s(\d+)$/;

/**
 * In the order of their names and seeds; runs that were never evaluated are left out.
 *
 * @throws UserError where the folder cannot be read.
 */
export async function readTrained(folder: string): Promise<Trained[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw new UserError(`${folder}: cannot be read: ${sentence(error)}`, { cause: error });
  });
  const runs = entries.filter((entry) => entry.isDirectory());
  const found = await Promise.all(
    runs.map(async ({ name: run }) => {
      const [, name, seed] = NAME.exec(run) ?? [];
      if (name === undefined) return [];
      const arms = await readdir(join(folder, run), { withFileTypes: true });
      const read = arms
        .filter((arm) => arm.isDirectory())
        .map((arm) => readOne(join(folder, run, arm.name), name, Number(seed)));
      return (await Promise.all(read)).flat();
    }),
  );
  return found.flat().sort((a, b) => a.name.localeCompare(b.name) || a.seed - b.seed);
}

async function readOne(folder: string, name: string, seed: number): Promise<Trained[]> {
  const lines = await readMetrics(join(folder, "metrics.jsonl"));
  const evaluations = evaluationsOf(lines);
  const last = evaluations.at(-1);
  if (last === undefined) return [];
  const probed = await loadFigures(folder);
  const measures = {
    "k-NN": last.knn,
    linear: probed?.linear,
    "tail, balanced": probed?.balanced?.groups?.tail.knn,
    "distinctUsed .5": last.distinctUsed?.["0.5"],
    "unique .5": last.unique["0.5"],
    used: last.used,
  };
  return [
    {
      name,
      seed,
      step: last.step,
      knn: evaluations.map((one) => [one.step, one.knn]),
      measures: Object.fromEntries(
        Object.entries(measures).flatMap(([of, value]) => (value == null ? [] : [[of, value]])),
      ),
      stepSeconds: median(
        lines.flatMap((line) => (typeof line.stepSeconds === "number" ? line.stepSeconds : [])),
      ),
    },
  ];
}

/** A line for each run, in hundredths. */
export function runLines(trained: readonly Trained[]): string[][] {
  const names = measuresOf(trained);
  const curves = trained.map(
    ({ knn }) => `every ${knn[1]?.[0] ?? 0}: ${knn.map(([, value]) => hundredths(value)).join(" ")}`,
  );
  const widest = Math.max(...curves.map(({ length }) => length));
  return [
    ["run", "seed", "step", ...names, "s / step", "k-NN, every so many steps".padEnd(widest)],
    ...trained.map(({ name, seed, step, measures, stepSeconds }, at) => [
      name,
      `${seed}`,
      `${step}`,
      ...names.map((of) => hundredths(measures[of])),
      Number.isNaN(stepSeconds) ? "" : stepSeconds.toFixed(3),
      (curves[at] ?? "").padEnd(widest),
    ]),
  ];
}

/**
 * Means over the seeds that came furthest, and the differences from `first`'s over the seeds that both have at that
 * step, with 95 % intervals. @throws UserError where there is no run called `first`.
 */
export function meanLines(trained: readonly Trained[], first: string): string[][] {
  const names = measuresOf(trained);
  const arms = [...new Set(trained.map(({ name }) => name))];
  if (!arms.includes(first))
    throw new UserError(`there is no evaluated run called ${first}; there are ${arms.join(", ")}`);
  const against = trained.filter(({ name }) => name === first);
  const lines = arms.map((arm) => {
    const all = trained.filter(({ name }) => name === arm);
    const step = Math.max(...all.map((one) => one.step));
    const own = all.filter((one) => one.step === step);
    const cells = names.map((of) => {
      const values = own.flatMap(({ measures }) => measures[of] ?? []);
      if (values.length < own.length) return "";
      const pairs = own.flatMap((one) => {
        const a = one.measures[of];
        const b = against.find((other) => other.seed === one.seed && other.step === step)?.measures[of];
        return a === undefined || b === undefined ? [] : [[a, b] as const];
      });
      return hundredths(mean(values)) + (arm === first ? around(interval(values)) : differenceText(pairs));
    });
    return [arm, `${own.length}`, `${step}`, ...cells];
  });
  return [["mean", "seeds", "step", ...names], ...lines];
}

function measuresOf(trained: readonly Trained[]): string[] {
  return [...new Set(trained.flatMap(({ measures }) => Object.keys(measures)))];
}

function differenceText(pairs: readonly (readonly [number, number])[]): string {
  if (pairs.length === 0) return "";
  const [a, b] = [pairs.map(([one]) => one), pairs.map(([, other]) => other)];
  const difference = mean(a) - mean(b);
  const sign = difference < 0 ? "" : "+";
  return ` (${sign}${hundredths(difference)}${around(pairedTest(a, b)?.interval ?? null)})`;
}

function around(ends: readonly [number, number] | null): string {
  return ends === null ? "" : ` [${ends.map(hundredths).join(", ")}]`;
}

function hundredths(share: number | undefined): string {
  return share === undefined ? "" : (100 * share).toFixed(1);
}
