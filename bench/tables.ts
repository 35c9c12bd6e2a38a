import { aligned } from "../src/report/table.ts";
import type { Measured, Missing, Result, Row } from "./figure.ts";
import { ratios, spread } from "./statistics.ts";

/**
 * The rows of a result's table: settings, values of each arm, and ratios. An arm without any value has no column;
 * the footnotes give the reason.
 */
export function tableOf({ rows }: Result): string[][] {
  const settings = columns(rows, (row) => Object.keys(row.setting));
  const arms = columns(rows, (row) => Object.keys(row.arms).filter((name) => isThere(row.arms[name])));
  const compared = columns(rows, (row) => thereOf(row).map(({ of, to }) => `${of} / ${to}`));
  const goals = rows.some((row) => goalText(row) !== "");
  // The unit of a whole column is in its heading.
  const units = arms.map((name) => {
    const [unit, ...others] = new Set(rows.flatMap(({ arms }) => unitOf(arms[name])));
    return others.length === 0 ? unit : undefined;
  });
  const headings = [
    ...settings,
    ...arms.map((name, at) => (units[at] ? `${name}, ${units[at]}` : name)),
    ...compared,
    ...(goals ? ["goal"] : []),
  ];
  const lines = rows.map((row) => [
    ...settings.map((name) => settingText(row.setting[name])),
    ...arms.map((name, at) => armText(row.arms[name], units[at])),
    ...compared.map((name) => ratioText(row, name)),
    ...(goals ? [goalText(row)] : []),
  ]);
  return [headings, ...lines];
}

/** A result's table for a terminal. */
export function plainTable(result: Result): string {
  return aligned(tableOf(result));
}

/** A result's table in Markdown, for a page. */
export function markdownTable(result: Result): string {
  const [headings = [], ...lines] = tableOf(result);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(headings), line(headings.map(() => "---")), ...lines.map(line)].join("\n");
}

/** Footnotes: the machine, the method, and missing values with their reasons. */
export function footnotes({ how, when, revision, machine, rows }: Result): string[] {
  const { cpu, cores, card, threads, torch, python, node } = machine;
  const place = card === null ? `${cpu}, ${cores} cores` : `${card}; ${cpu}, ${cores} cores`;
  const versions = `${threads} threads in PyTorch ${torch}, Python ${python}, Node ${node}`;
  const reasons = new Map<string, Set<string>>();
  for (const [name, arm] of rows.flatMap(({ arms }) => Object.entries(arms))) {
    if ("missing" in arm) reasons.set(arm.missing, (reasons.get(arm.missing) ?? new Set()).add(name));
  }
  const nothing = [...reasons].map(([why, names]) => `Nothing of ${[...names].join("; ")}: ${why}.`);
  return [`${how} ${when.slice(0, 10)}, ${revision}, on ${place}; ${versions}.`, ...nothing];
}

function columns(rows: readonly Row[], of: (row: Row) => string[]): string[] {
  return [...new Set(rows.flatMap(of))];
}

function isThere(arm: Measured | Missing | undefined): boolean {
  return arm !== undefined && "unit" in arm;
}

/** The ratios of pairs of arms that both have values. */
function thereOf({ arms, ratios }: Row): Row["ratios"] {
  return ratios.filter(({ of, to }) => isThere(arms[of]) && isThere(arms[to]));
}

function goalText(row: Row): string {
  const { arms } = row;
  const goals = [
    ...thereOf(row).map(({ of, to, atMost }) => ({ name: `${of} / ${to}`, atMost })),
    ...Object.entries(arms).map(([name, arm]) => ({ name, atMost: "unit" in arm ? arm.atMost : undefined })),
  ].filter(({ atMost }) => atMost !== undefined);
  const several = new Set(goals.map(({ name }) => name)).size > 1;
  return goals
    .map(({ name, atMost }) => (several ? `${name} ≤ ${number(atMost ?? 0)}` : `≤ ${number(atMost ?? 0)}`))
    .join(", ");
}

function unitOf(arm: Measured | Missing | undefined): string[] {
  return arm !== undefined && "unit" in arm ? [arm.unit] : [];
}

function settingText(value: string | number | undefined): string {
  return typeof value === "number" ? value.toLocaleString("en-US") : (value ?? "");
}

function armText(arm: Measured | Missing | undefined, unit: string | undefined): string {
  if (arm === undefined) return "";
  if ("missing" in arm) return "–";
  return arm.unit === unit ? spreadText(arm.samples) : `${spreadText(arm.samples)} ${arm.unit}`;
}

function ratioText(row: Row, name: string): string {
  const ratio = row.ratios.find(({ of, to }) => `${of} / ${to}` === name);
  const [a, b] = [ratio && row.arms[ratio.of], ratio && row.arms[ratio.to]];
  if (!a || !b || "missing" in a || "missing" in b) return "";
  return spreadText(ratios(a.samples, b.samples));
}

/** "12.3 (11.9 to 14.0)": the median, the minimum and the maximum. */
function spreadText(samples: readonly number[]): string {
  const { median, least, greatest } = spread(samples);
  return samples.length === 1
    ? number(median)
    : `${number(median)} (${number(least)} to ${number(greatest)})`;
}

/** Three significant digits. */
function number(value: number): string {
  const digits = value === 0 ? 0 : 2 - Math.floor(Math.log10(Math.abs(value)));
  return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(Math.max(digits, 0), 6) });
}
