import type { Figures } from "./data.ts";
import { count, duration, percent } from "./format.ts";

/** The arms of a run side by side, as plain text for a terminal: a line for each arm. */
export function comparisonTable(figures: Figures): string {
  const arms = Object.entries(figures.arms);
  const epsilons = epsilonsOf(figures);
  const intervals = arms.some(([, arm]) => arm.interval !== undefined);
  const headings = [
    "",
    "k-NN",
    ...(intervals ? ["95 % interval"] : []),
    ...epsilons.map((epsilon) => `unique ${epsilon}`),
    "used",
    "perplexity",
    "steps",
    "seeds",
    "time",
  ];
  const rows = arms.map(([name, arm]) => [
    name,
    percent(arm.knn, 1),
    ...(intervals ? [arm.interval === undefined ? "" : intervalText(arm.interval.knn)] : []),
    ...epsilons.map((epsilon) => percent(arm.unique[epsilon] ?? Number.NaN)),
    percent(arm.used),
    count(arm.perplexity),
    count(arm.steps),
    String(arm.seeds.length),
    duration(arm.seconds),
  ]);
  return aligned([headings, ["untrained", percent(figures.untrained.knn, 1)], ...rows]);
}

/** The epsilons of a run, ascending. */
export function epsilonsOf({ arms }: Figures): string[] {
  const all = new Set(Object.values(arms).flatMap(({ unique }) => Object.keys(unique)));
  return [...all].sort((a, b) => Number(a) - Number(b));
}

/** "55.3 to 56.9 %". */
export function intervalText([low, high]: readonly [number, number]): string {
  return `${(100 * low).toFixed(1)} to ${percent(high, 1)}`;
}

/** Columns as wide as their widest cell; the first to the left, the others to the right. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
