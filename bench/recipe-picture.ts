/**
 * node --import ./register.mjs bench/recipe-picture.ts PLACE OUT NAME=LABEL...: draws k-NN and distinctUsed at .5 over
 * training, a line for each NAME: the mean over its seeds, with the 95 % interval shaded. PLACE as in recipe-table; OUT
 * is an .svg or a .png. Labels that agree up to a comma share a colour, in increasingly dark shades.
 */
import { reachOf } from "../src/metrics/student.ts";
import { type Axis, type CurvePoint, drawCurves, type Size } from "../src/report/curves.ts";
import { overSeeds } from "../src/report/over-seeds.ts";
import { sideBySide } from "../src/report/picture.ts";
import { draw } from "./draw.ts";
import { colorsOf, labelsOf } from "./labels.ts";
import type { Trained } from "./trained.ts";

const PANEL: Size = { width: 440, height: 330 };
const MOST_POINTS = 200;
const STEP: Axis = { title: "training step" };

await draw("recipe-picture PLACE OUT.png NAME=LABEL...", (trained, named) =>
  picture(trained, labelsOf(named, trained)),
);

/** @param labels by the names of the runs to draw */
async function picture(trained: readonly Trained[], labels: ReadonlyMap<string, string>): Promise<string> {
  const legend = colorsOf([...labels.values()]);
  const panel = (y: Axis, value: Value) => {
    const points = [...labels].flatMap(([name, label]) => over(trained, name, label, value));
    return drawCurves([...legend.keys()], points, { x: STEP, y, size: PANEL, colors: legend });
  };
  const panels = [
    await panel({ title: "k-NN accuracy", percent: true, fromZero: false }, ({ knn }) => knn),
    await panel(
      { title: "distinct and used at 0.5", domain: [0, 1], percent: true },
      ({ distinctUsed }) => distinctUsed?.["0.5"],
    ),
  ];
  const seeds = new Set(trained.flatMap(({ name, seed }) => (labels.has(name) ? seed : []))).size;
  const title = seeds > 1 ? `Means of ${seeds} seeds, 95 % intervals` : "One seed";
  return sideBySide(title, panels, PANEL, { legend });
}

type Value = (evaluation: Trained["evaluations"][number]) => number | undefined;

function over(trained: readonly Trained[], name: string, label: string, value: Value): CurvePoint[] {
  const curves = trained
    .filter((run) => run.name === name)
    .map(({ evaluations }) =>
      evaluations.flatMap((one) => {
        const y = value(one);
        // Before the first step all arms are equal, and far below the range in which they differ.
        return y === undefined || one.step === 0 ? [] : [{ x: one.step, y }];
      }),
    );
  return overSeeds(curves, MOST_POINTS, reachOf).map((point) => ({ arm: label, ...point }));
}
