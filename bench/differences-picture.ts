/**
 * node --import ./register.mjs bench/differences-picture.ts PLACE OUT BASE NAME=LABEL...: draws the difference of each
 * NAME's k-NN from BASE's at the last step that both have, in points, paired by seed, with the 95 % interval by
 * Student's t. PLACE as in recipe-table; OUT is an .svg or a .png. Lines at 1 point on either side mark small differences.
 */
import type { TopLevelSpec } from "vega-lite";
import { UserError } from "../src/errors.ts";
import { pairedTest } from "../src/experiment/statistics.ts";
import { renderChart } from "../src/report/chart.ts";
import type { Size } from "../src/report/curves.ts";
import { sideBySide } from "../src/report/picture.ts";
import { armColors, muted } from "../src/report/theme.ts";
import { draw } from "./draw.ts";
import { labelsOf } from "./labels.ts";
import type { Trained } from "./trained.ts";

const WIDTH = 720;
const ROW = 30;

await draw("differences-picture PLACE OUT.png BASE NAME=LABEL...", (trained, [base, ...named]) => {
  if (base === undefined) throw new UserError("say what to compare with: BASE, the name of a run");
  return picture(trained, base, labelsOf(named, trained));
});

async function picture(
  trained: readonly Trained[],
  base: string,
  labels: ReadonlyMap<string, string>,
): Promise<string> {
  const of = (name: string) => trained.filter((run) => run.name === name);
  const rows = [...labels].map(([name, label]) => {
    const pairs = of(name).flatMap((run) => {
      const other = of(base).find(({ seed }) => seed === run.seed);
      return other === undefined ? [] : [lastOfBoth(run, other)];
    });
    const test = pairedTest(
      pairs.map(([own]) => 100 * own),
      pairs.map(([, its]) => 100 * its),
    );
    if (test === null) throw new UserError(`${name} and ${base} have fewer than two seeds in common`);
    const [low, high] = test.interval;
    return { label, mean: test.mean, low, high };
  });
  const size: Size = { width: WIDTH, height: ROW * rows.length + 60 };
  const seeds = new Set(trained.map(({ seed }) => seed)).size;
  const title = `k-NN minus that of the defaults, in points: mean of ${seeds} seeds, 95 % interval`;
  return sideBySide(title, [await renderChart(chart(rows, size))], size);
}

/** k-NN of two runs at the last step that both have. */
function lastOfBoth(run: Trained, other: Trained): [number, number] {
  const own = new Map(run.evaluations.map(({ step, knn }) => [step, knn]));
  const last = other.evaluations.filter(({ step }) => own.has(step)).at(-1);
  if (last === undefined)
    throw new UserError(`${run.name} and ${other.name} have no evaluation at the same step`);
  return [own.get(last.step) ?? Number.NaN, last.knn];
}

function chart(rows: { label: string; mean: number; low: number; high: number }[], size: Size): TopLevelSpec {
  const color = armColors(["decoupled"]).get("decoupled") ?? muted;
  const y = {
    field: "label",
    type: "nominal" as const,
    sort: rows.map(({ label }) => label),
    axis: { title: null, labelLimit: 400 },
  };
  const x = { field: "mean", type: "quantitative" as const, title: "points of k-NN" };
  const at = (points: number, dash: number[]) => ({
    data: { values: [{ mean: points }] },
    mark: { type: "rule" as const, color: muted, strokeDash: dash, strokeWidth: 1.2 },
    encoding: { x },
  });
  return {
    ...size,
    padding: { left: 4, right: 16, top: 4, bottom: 4 },
    autosize: { type: "fit", contains: "padding" },
    layer: [
      at(0, [1, 0]),
      at(-1, [4, 4]),
      at(1, [4, 4]),
      {
        data: { values: rows },
        mark: { type: "rule", color, strokeWidth: 2 },
        encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" } },
      },
      { data: { values: rows }, mark: { type: "point", color, filled: true, size: 60 }, encoding: { y, x } },
    ],
  };
}
