import { UserError } from "../src/errors.ts";
import { interval, mean, pairedTest } from "../src/experiment/statistics.ts";
import type { Trained } from "./trained.ts";

/** A line for each run, in percent. */
export function runLines(trained: readonly Trained[]): string[][] {
  const names = measureNames(trained);
  const curves = trained.map(
    ({ evaluations }) =>
      `every ${evaluations[1]?.step ?? 0}: ${evaluations.map(({ knn }) => hundredths(knn)).join(" ")}`,
  );
  const widest = Math.max(...curves.map(({ length }) => length));
  return [
    ["run", "seed", "step", ...names, "s / step", "k-NN, every so many steps".padEnd(widest)],
    ...trained.map((run, at) => [
      run.name,
      `${run.seed}`,
      `${lastStep(run)}`,
      ...names.map((of) => hundredths(measuresOf(run)[of])),
      run.stepSeconds?.toFixed(3) ?? "",
      (curves[at] ?? "").padEnd(widest),
    ]),
  ];
}

/**
 * Means over the seeds at the last step that any of them has reached, and differences from `first` over the common
 * seeds at that step, with 95 % intervals. @throws UserError if there is no run called `first`
 */
export function meanLines(trained: readonly Trained[], first: string): string[][] {
  const names = measureNames(trained);
  const arms = [...new Set(trained.map(({ name }) => name))];
  if (!arms.includes(first))
    throw new UserError(`there is no evaluated run called ${first}; there are ${arms.join(", ")}`);
  const against = trained.filter(({ name }) => name === first);
  const lines = arms.map((arm) => {
    const all = trained.filter(({ name }) => name === arm);
    const step = Math.max(...all.map(lastStep));
    const own = all.filter((one) => lastStep(one) === step);
    const cells = names.map((of) => {
      const values = own.flatMap((one) => measuresOf(one)[of] ?? []);
      if (values.length < own.length) return "";
      const pairs = own.flatMap((one) => {
        const other = against.find((its) => its.seed === one.seed && lastStep(its) === step);
        const [a, b] = [measuresOf(one)[of], other && measuresOf(other)[of]];
        return a === undefined || b === undefined ? [] : [[a, b] as const];
      });
      return hundredths(mean(values)) + (arm === first ? around(interval(values)) : differenceText(pairs));
    });
    return [arm, `${own.length}`, `${step}`, ...cells];
  });
  return [["mean", "seeds", "step", ...names], ...lines];
}

function lastStep({ evaluations }: Trained): number {
  return evaluations.at(-1)?.step ?? 0;
}

/** The measures of the last evaluation and, if there was one, of the probe, in [0, 1]. */
function measuresOf({ evaluations, linear, tail }: Trained): Partial<Record<string, number>> {
  const last = evaluations.at(-1);
  return {
    "k-NN": last?.knn,
    linear,
    "tail, balanced": tail,
    "distinctUsed .5": last?.distinctUsed?.["0.5"],
    "unique .5": last?.unique["0.5"],
    used: last?.used,
  };
}

/** The headings of the measures that any run has. */
function measureNames(trained: readonly Trained[]): string[] {
  const found = trained.flatMap((run) => Object.entries(measuresOf(run)));
  return [...new Set(found.flatMap(([name, value]) => (value === undefined ? [] : name)))];
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
