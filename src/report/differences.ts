import type { Figures } from "./data.ts";
import type { PairedTest } from "./summary.ts";
import { aligned } from "./table.ts";

/** The text below a run's table: paired differences between arms, and failed trainings; "" if there are none. */
export function differencesAndFailures({ differences = [], failures = [] }: Figures): string {
  const probed = differences.some(({ linear }) => linear !== undefined);
  const rows = differences.map(({ arms: [arm, baseline], seeds, knn, linear }) => [
    `${arm} less ${baseline}`,
    ...cells(knn),
    ...(probed ? cells(linear) : []),
    String(seeds.length),
  ]);
  const under = (measure: string) => [`${measure}, points`, "95 % interval", "p"];
  const headings = ["paired by seed", ...under("k-NN"), ...(probed ? under("linear") : []), "seeds"];
  const parts = [
    rows.length > 0 ? aligned([headings, ...rows]) : "",
    failures.map(({ arm, seed, error }) => `failed: ${arm}, seed ${seed}: ${error}`).join("\n"),
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

function cells(test: PairedTest | undefined): string[] {
  if (test === undefined) return ["", "", ""];
  const [low, high] = test.interval;
  const p = test.p < 0.001 ? "< 0.001" : test.p.toFixed(3);
  return [differenceText(test.mean), `${differenceText(low)} to ${differenceText(high)}`, p];
}

/** A difference of two shares in percentage points: "+3.1", "-0.4". */
export function differenceText(difference: number): string {
  return `${difference > 0 ? "+" : ""}${(100 * difference).toFixed(1)}`;
}

/** "= 0.031", "< 0.001". */
export function pText(p: number): string {
  return p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`;
}
