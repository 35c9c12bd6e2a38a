/**
 * node --import ./register.mjs bench/sizes-picture.ts PLACE OUT: draws k-NN, use, and distinctUsed at .5 at the last
 * step over K, a line for each arm and D. PLACE as in recipe-table; OUT is an .svg or a .png.
 */
import { type Axis, type CurvePoint, drawCurves, type Size } from "../src/report/curves.ts";
import { sideBySide } from "../src/report/picture.ts";
import { draw } from "./draw.ts";
import { colorsOf } from "./labels.ts";
import type { Trained } from "./trained.ts";

const PANEL: Size = { width: 340, height: 300 };

await draw("sizes-picture PLACE OUT.png", picture);

async function picture(trained: readonly Trained[]): Promise<string> {
  const runs = trained
    .map((run) => ({ ...run, size: sizeOf(run) }))
    .sort((a, b) => a.size.dim - b.size.dim || a.size.components - b.size.components);
  const legend = colorsOf([...new Set(runs.map(({ size }) => size.label))].sort());
  const ticks = [...new Set(runs.map(({ size }) => size.components))];
  const x: Axis = { title: "prototypes, K", log: true, ticks };
  const panel = (y: Axis, value: Value) => {
    const points = runs.flatMap(({ size, evaluations }): CurvePoint[] => {
      const last = evaluations.at(-1);
      const at = last && value(last);
      return at === undefined ? [] : [{ arm: size.label, x: size.components, y: at }];
    });
    return drawCurves([...legend.keys()], points, { x, y, size: PANEL, colors: legend });
  };
  const panels = [
    await panel({ title: "k-NN accuracy", percent: true, fromZero: false }, ({ knn }) => knn),
    await panel({ title: "used", domain: [0, 1], percent: true }, ({ used }) => used),
    await panel(
      { title: "distinct and used at 0.5", domain: [0, 1], percent: true },
      ({ distinctUsed }) => distinctUsed?.["0.5"],
    ),
  ];
  const steps = Math.max(...runs.map(({ evaluations }) => evaluations.at(-1)?.step ?? 0));
  return sideBySide(`After ${steps.toLocaleString("en")} steps`, panels, PANEL, { legend });
}

type Value = (evaluation: Trained["evaluations"][number]) => number | undefined;

function sizeOf({ settings }: Trained): { label: string; dim: number; components: number } {
  const [dim, components] = [Number(settings["head.dim"]), Number(settings["plugin.components"])];
  return { label: `${String(settings.prototypes)}, D = ${dim}`, dim, components };
}
