import type { Figures } from "./data.ts";
import { differencesAndFailures } from "./differences.ts";
import { escapeXml, percent } from "./format.ts";
import { comparisonTable, epsilonsOf, groupsTable } from "./table.ts";

/** The page's figures in several formats for copying, folded. A click on one selects all of it. */
export function copies(figures: Figures): string {
  const cells = cellsOf(figures);
  const plain = [comparisonTable(figures), groupsTable(figures), differencesAndFailures(figures)].filter(
    (part) => part !== "",
  );
  const forms = {
    "plain text": plain.join("\n\n"),
    Markdown: markdown(cells),
    LaTeX: latex(cells),
    CSV: csv(cells),
  };
  return Object.entries(forms)
    .map(
      ([form, text]) =>
        `<details><summary>Table as ${form}</summary><p class="hint">A click selects all of it.</p><pre class="copy">${escapeXml(text)}</pre></details>`,
    )
    .join("");
}

/** A number with its formatted text, or plain text. */
type Cell = string | { value: number; text: string };

interface Cells {
  columns: string[];
  rows: Cell[][];
}

function cellsOf(figures: Figures): Cells {
  const arms = Object.entries(figures.arms);
  const epsilons = epsilonsOf(figures);
  const intervals = arms.some(([, { interval }]) => interval !== undefined);
  const probed = arms.some(([, { linear }]) => linear !== undefined);
  const ends = (interval?: readonly [number, number]) =>
    intervals ? (interval ?? [Number.NaN, Number.NaN]).map((end) => share(end, 1)) : [];
  const share = (value: number, digits?: number) => ({ value, text: percent(value, digits) });
  const whole = (value: number) => ({ value, text: value.toFixed(0) });
  return {
    columns: [
      "arm",
      "k-NN",
      ...(intervals ? ["k-NN from", "k-NN to"] : []),
      ...(probed ? ["linear", ...(intervals ? ["linear from", "linear to"] : [])] : []),
      ...epsilons.map((epsilon) => `distinctUsed ${epsilon}`),
      ...epsilons.map((epsilon) => `unique ${epsilon}`),
      "used",
      "perplexity",
      "steps",
      "seeds",
      "seconds",
    ],
    rows: arms.map(([name, arm]) => {
      const { knn, linear, interval, unique, used, distinctUsed, perplexity, steps, seeds, seconds } = arm;
      return [
        name,
        share(knn, 1),
        ...ends(interval?.knn),
        ...(probed ? [share(linear ?? Number.NaN, 1), ...ends(interval?.linear)] : []),
        ...epsilons.map((epsilon) => share(distinctUsed?.[epsilon] ?? Number.NaN)),
        ...epsilons.map((epsilon) => share(unique[epsilon] ?? Number.NaN)),
        share(used),
        whole(perplexity),
        whole(steps),
        whole(seeds.length),
        whole(seconds),
      ];
    }),
  };
}

const textOf = (cell: Cell) => (typeof cell === "string" ? cell : cell.text);

function markdown({ columns, rows }: Cells): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = columns.map((_, at) => (at === 0 ? "---" : "---:"));
  return [line(columns), line(rule), ...rows.map((row) => line(row.map(textOf)))].join("\n");
}

/** A LaTeX table with the rules of booktabs. */
function latex({ columns, rows }: Cells): string {
  const line = (cells: readonly string[]) =>
    `${cells.map((cell) => cell.replace(/[&%$#_{}]/g, "\\$&").replaceAll("–", "--")).join(" & ")} \\\\`;
  return [
    `\\begin{tabular}{l${"r".repeat(columns.length - 1)}}`,
    "\\toprule",
    line(columns),
    "\\midrule",
    ...rows.map((row) => line(row.map(textOf))),
    "\\bottomrule",
    "\\end{tabular}",
  ].join("\n");
}

/** Unrounded numbers; unknown ones are empty. */
function csv({ columns, rows }: Cells): string {
  const field = (text: string) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const number = (value: number) => (Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "");
  return [
    columns,
    ...rows.map((row) => row.map((cell) => (typeof cell === "string" ? cell : number(cell.value)))),
  ]
    .map((row) => row.map(field).join(","))
    .join("\n");
}
