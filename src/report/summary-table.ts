import type { ArmFigures, Figures } from "./data.ts";
import { count, duration, escapeXml, percent } from "./format.ts";
import { epsilonsOf, intervalText } from "./table.ts";

/** A coloured square and the arm's name: the legend of every figure. */
export function swatch(name: string, color: string): string {
  return `<span class="arm"><i style="background:${color}"></i>${escapeXml(name)}</span>`;
}

/** The figures of a run as an HTML table: a column for each arm, K in a heading where all have the same. */
export function figuresTable(figures: Figures, colors: ReadonlyMap<string, string>, K?: number): string {
  const arms = Object.entries(figures.arms);
  const row = (label: string, cell: (arm: ArmFigures, color: string) => string) =>
    `<tr><th scope="row">${label}</th>${arms.map(([name, arm]) => `<td>${cell(arm, colors.get(name) ?? "")}</td>`).join("")}</tr>`;
  const shareRow = (label: string, share: (arm: ArmFigures) => number) =>
    row(label, (arm, color) => bar(share(arm), color) + percent(share(arm)));
  const group = (title: string) => `<tr class="group"><th colspan="${arms.length + 1}">${title}</th></tr>`;
  const interval = ({ interval }: ArmFigures) =>
    interval === undefined ? "" : ` <small>${intervalText(interval.knn)}</small>`;
  const rows = [
    row("k-NN accuracy", (arm, color) => `${bar(arm.knn, color)}${percent(arm.knn, 1)}${interval(arm)}`),
    `<tr><th scope="row">untrained encoder</th><td colspan="${arms.length}">${bar(figures.untrained.knn, "var(--faint)")}${percent(figures.untrained.knn, 1)}</td></tr>`,
    group(`distinct at a cosine distance${K === undefined ? "" : `, of ${count(K)} prototypes`}`),
    ...epsilonsOf(figures).map((epsilon) =>
      shareRow(`at ${epsilon}`, ({ unique }) => unique[epsilon] ?? Number.NaN),
    ),
    group("use"),
    shareRow("used prototypes", ({ used }) => used),
    row("perplexity of the wins", ({ perplexity }) => count(perplexity)),
    group("cost"),
    row("steps", ({ steps, seeds }) => count(steps) + (seeds.length > 1 ? ` × ${seeds.length} seeds` : "")),
    row("time", ({ seconds }) => duration(seconds)),
  ];
  const head = arms.map(([name]) => `<th scope="col">${swatch(name, colors.get(name) ?? "")}</th>`).join("");
  return `<div class="table"><table><thead><tr><td></td>${head}</tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
}

function bar(share: number, color: string): string {
  const width = Number.isFinite(share) ? (100 * share).toFixed(1) : "0";
  return `<span class="bar"><i style="width:${width}%;background:${color}"></i></span>`;
}
