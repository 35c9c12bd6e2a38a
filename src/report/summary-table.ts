import { reachOf } from "../metrics/student.ts";
import { GROUPS } from "./classes.ts";
import type { ArmFigures, ArmRecord, Figures } from "./data.ts";
import { differenceText, pText } from "./differences.ts";
import { count, duration, escapeXml, percent } from "./format.ts";
import { overSeeds } from "./over-seeds.ts";
import type { ClassifierFigures } from "./probe-figures.ts";
import { epsilonsOf, intervalText } from "./table.ts";

/** A coloured square and the arm's name: the legend of every figure. */
export function swatch(name: string, color: string): string {
  return `<span class="arm"><i style="background:${color}"></i>${escapeXml(name)}</span>`;
}

/** The figures of a run as an HTML table with a column for each arm. `K`: shown in a heading, if all have the same. */
export function figuresTable(figures: Figures, colors: ReadonlyMap<string, string>, K?: number): string {
  const arms = Object.entries(figures.arms);
  const row = (label: string, cell: (arm: ArmFigures, color: string, name: string) => string): Row => ({
    label,
    cells: arms.map(([name, arm]) => cell(arm, colors.get(name) ?? "", name)),
  });
  const shareRow = (label: string, share: (arm: ArmFigures) => number) =>
    row(label, (arm, color) => bar(share(arm), color) + percent(share(arm)));
  const around = (interval: [number, number] | undefined) =>
    interval === undefined ? "" : ` <small>${intervalText(interval)}</small>`;
  const ofK = K === undefined ? "" : `, of ${count(K)} prototypes`;
  const epsilons = epsilonsOf(figures);
  const accuracyRow = (label: string, by: "knn" | "linear") =>
    row(label, (arm, color) => {
      const share = arm[by] ?? Number.NaN;
      return bar(share, color) + percent(share, 1) + around(arm.interval?.[by]);
    });
  const rows = [
    accuracyRow("k-NN accuracy", "knn"),
    ...(arms.some(([, { linear }]) => linear !== undefined) ? [accuracyRow("linear probe", "linear")] : []),
    row("untrained encoder", ({ untrained = figures.untrained.knn }) => {
      return bar(untrained, "var(--faint)") + percent(untrained, 1);
    }),
    ...differenceRows(figures, "knn", "k-NN"),
    ...differenceRows(figures, "linear", "linear"),
    { group: `used, and distinct at a cosine distance${ofK}` },
    ...epsilons.map((epsilon) =>
      row(`at ${epsilon}`, ({ distinctUsed, interval }, color) => {
        const share = distinctUsed?.[epsilon] ?? Number.NaN;
        return bar(share, color) + percent(share) + around(interval?.distinctUsed?.[epsilon]);
      }),
    ),
    { group: "distinct, used or not" },
    ...epsilons.map((epsilon) => shareRow(`at ${epsilon}`, ({ unique }) => unique[epsilon] ?? Number.NaN)),
    { group: "use" },
    shareRow("used prototypes", ({ used }) => used),
    row("perplexity of the wins", ({ perplexity }) => count(perplexity)),
    { group: "cost" },
    row("steps", ({ steps, seeds }) => count(steps) + (seeds.length > 1 ? ` × ${seeds.length} seeds` : "")),
    row("time", ({ seconds }) => duration(seconds)),
  ];
  return tableOf(
    arms.map(([name]) => name),
    colors,
    rows,
  );
}

/** Accuracies with frozen features, at every k and by group, with both kinds of references. */
export function frozenTable(arms: readonly ArmRecord[], colors: ReadonlyMap<string, string>): string {
  const part = (of: (arm: ArmRecord) => readonly ClassifierFigures[]): Row[] => {
    const seeds = arms.map(of);
    const all = seeds.flat();
    if (all.length === 0) return [];
    const ks = [...new Set(all.flatMap(({ knn }) => Object.keys(knn)))];
    const row = (label: string, value: (figures: ClassifierFigures) => number | null | undefined): Row => ({
      label,
      cells: seeds.map((own, at) => {
        const curves = own.map((figures) => {
          const y = value(figures) ?? null;
          return y === null ? [] : [{ x: 0, y }];
        });
        const { y = Number.NaN, low, high } = overSeeds(curves, 1, reachOf)[0] ?? {};
        const around =
          low === undefined || high === undefined ? "" : ` <small>${intervalText([low, high])}</small>`;
        return bar(y, colors.get(arms[at]?.name ?? "") ?? "") + percent(y, 1) + around;
      }),
    });
    return [
      ...ks.map((k) => row(`k&#8209;NN, k&nbsp;=&nbsp;${k}`, ({ knn }) => knn[k])),
      row("linear probe", ({ linear }) => linear),
      ...(all.every(({ groups }) => groups === undefined)
        ? []
        : GROUPS.flatMap((group) => [
            row(`${group}, k&#8209;NN`, ({ groups }) => groups?.[group].knn),
            row(`${group}, linear`, ({ groups }) => groups?.[group].linear),
          ])),
    ];
  };
  const own = part(({ probes }) => probes);
  const balanced = part(({ probes }) => probes.flatMap((probe) => probe.balanced ?? []));
  return tableOf(
    arms.map(({ name }) => name),
    colors,
    balanced.length === 0
      ? own
      : [
          { group: "with the training set as references" },
          ...own,
          { group: "with a balanced version of it" },
          ...balanced,
        ],
  );
}

/** Rows with the paired differences between arms. */
function differenceRows({ arms, differences = [] }: Figures, by: "knn" | "linear", said: string): Row[] {
  const tested = differences.filter((each) => each[by] !== undefined);
  if (tested.length === 0) return [];
  const baselines = [...new Set(tested.map((each) => each.arms[1]))];
  const baseline = baselines.length === 1 ? escapeXml(baselines[0] ?? "") : "its run's first arm";
  const cells = Object.keys(arms).map((name) => {
    const test = tested.find((each) => each.arms[0] === name)?.[by];
    if (test === undefined) return "";
    const [low, high] = test.interval;
    return `${differenceText(test.mean)} <small>${differenceText(low)} to ${differenceText(high)}</small> <small>p ${pText(test.p)}</small>`;
  });
  return [{ label: `${said} less ${baseline}, points`, cells }];
}

/** HTML: a measure and what each arm has of it, or a heading over the measures that follow. */
type Row = { label: string; cells: string[] } | { group: string };

/** More arms than these are rows, and the measures columns. */
const MOST_COLUMNS = 3;

function tableOf(
  names: readonly string[],
  colors: ReadonlyMap<string, string>,
  rows: readonly Row[],
): string {
  const arms = names.map((name) => swatch(name, colors.get(name) ?? ""));
  const html = arms.length > MOST_COLUMNS ? armsDown(arms, rows) : armsAcross(arms, rows);
  return `<div class="table">${html}</div>`;
}

function armsAcross(arms: readonly string[], rows: readonly Row[]): string {
  const body = rows.map((row) =>
    "group" in row
      ? `<tr class="group"><th colspan="${arms.length + 1}">${row.group}</th></tr>`
      : `<tr><th scope="row">${row.label}</th>${row.cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`,
  );
  const head = arms.map((arm) => `<th scope="col">${arm}</th>`).join("");
  return `<table><thead><tr><td></td>${head}</tr></thead><tbody>${body.join("")}</tbody></table>`;
}

function armsDown(arms: readonly string[], rows: readonly Row[]): string {
  const groups: { title: string; span: number }[] = [{ title: "", span: 0 }];
  const measures: { label: string; cells: string[] }[] = [];
  for (const row of rows) {
    const last = groups.at(-1);
    if ("group" in row) groups.push({ title: row.group, span: 0 });
    else if (last !== undefined) {
      last.span++;
      measures.push(row);
    }
  }
  const over = groups
    .filter(({ span }) => span > 0)
    .map(({ title, span }) => `<th colspan="${span}">${title}</th>`);
  const head = measures.map(({ label }) => `<th scope="col">${label}</th>`);
  const body = arms.map((arm, at) => {
    const cells = measures.map(({ cells }) => `<td>${cells[at] ?? ""}</td>`);
    return `<tr><th scope="row">${arm}</th>${cells.join("")}</tr>`;
  });
  return `<table class="down"><thead><tr><td></td>${over.join("")}</tr><tr><td></td>${head.join("")}</tr></thead><tbody>${body.join("")}</tbody></table>`;
}

function bar(share: number, color: string): string {
  const width = Number.isFinite(share) ? (100 * share).toFixed(1) : "0";
  return `<span class="bar"><i style="width:${width}%;background:${color}"></i></span>`;
}
