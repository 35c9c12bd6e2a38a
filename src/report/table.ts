import type { Figures } from "./data.ts";
import { count, duration, percent } from "./format.ts";
import type { GroupFigures } from "./summary.ts";

/** The figures of a run as plain text for a terminal, with a line for each arm. */
export function comparisonTable(figures: Figures): string {
  const arms = Object.entries(figures.arms);
  const epsilons = epsilonsOf(figures);
  const intervals = arms.some(([, arm]) => arm.interval !== undefined);
  const probed = arms.some(([, arm]) => arm.linear !== undefined);
  const headings = [
    "",
    "k-NN",
    ...(intervals ? ["95 % interval"] : []),
    ...(probed ? ["linear", ...(intervals ? ["95 % interval"] : [])] : []),
    "distinctUsed 0.5",
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
    ...(intervals ? [rangeOf(arm.interval?.knn)] : []),
    ...(probed ? [shareOf(arm.linear), ...(intervals ? [rangeOf(arm.interval?.linear)] : [])] : []),
    percent(arm.distinctUsed?.["0.5"] ?? Number.NaN),
    ...epsilons.map((epsilon) => percent(arm.unique[epsilon] ?? Number.NaN)),
    percent(arm.used),
    count(arm.perplexity),
    count(arm.steps),
    String(arm.seeds.length),
    duration(arm.seconds),
  ]);
  const untrained = untrainedOf(figures);
  return aligned([headings, ...(untrained === null ? [] : [["untrained", percent(untrained, 1)]]), ...rows]);
}

/** k-NN of the untrained encoder; null if arms of several runs started from different encoders. */
export function untrainedOf({ untrained, arms }: Figures): number | null {
  const all = Object.values(arms).map((arm) => arm.untrained ?? untrained.knn);
  return all.every((knn) => knn === all[0]) ? (all[0] ?? untrained.knn) : null;
}

/** Accuracy on all, head, medium and tail classes of arms trained on a long-tailed set; "" for other runs. */
export function groupsTable({ arms }: Figures): string {
  const row = (name: string, of: { knn: number; linear?: number; groups?: GroupFigures }) => {
    const { groups, knn, linear } = of;
    if (groups === undefined) return [];
    const parts = [groups.head, groups.medium, groups.tail];
    const [ofKnn, ofLinear] = [parts.map((part) => part.knn), parts.map((part) => part.linear)];
    return [[name, ...[knn, ...ofKnn, linear, ...ofLinear].map(shareOf)]];
  };
  const rows = Object.entries(arms).flatMap(([name, arm]) => [
    ...row(name, arm),
    ...(arm.balanced === undefined ? [] : row(`${name}, balanced references`, arm.balanced)),
  ]);
  if (rows.length === 0) return "";
  const groups = ["head", "medium", "tail"];
  return aligned([["", "k-NN", ...groups, "linear", ...groups], ...rows]);
}

/** A share as a percentage; "" if it is missing. */
function shareOf(share: number | null | undefined): string {
  return share == null ? "" : percent(share, 1);
}

function rangeOf(interval: readonly [number, number] | undefined): string {
  return interval === undefined ? "" : intervalText(interval);
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

/** Aligns columns to their widest cell, the first one left, the others right. */
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
