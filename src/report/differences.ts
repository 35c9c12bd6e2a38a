import type { Figures } from "./data.ts";
import { percent } from "./format.ts";
import { aligned } from "./table.ts";

/** Below the table of a run: paired differences between arms, and the trainings that failed; "" where there are none. */
export function differencesAndFailures({ differences = [], failures = [] }: Figures): string {
  const rows = differences.map(({ arms: [arm, baseline], seeds, knn }) => [
    `${arm} less ${baseline}`,
    points(knn.mean),
    `${points(knn.interval[0])} to ${points(knn.interval[1])}`,
    knn.p < 0.001 ? "< 0.001" : knn.p.toFixed(3),
    String(seeds.length),
  ]);
  const parts = [
    rows.length > 0 ? aligned([["paired by seed", "k-NN", "95 % interval", "p", "seeds"], ...rows]) : "",
    failures.map(({ arm, seed, error }) => `failed: ${arm}, seed ${seed}: ${error}`).join("\n"),
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

/** A difference of shares in points: "+3.1 %". */
function points(difference: number): string {
  return `${difference > 0 ? "+" : ""}${percent(difference, 1)}`;
}
