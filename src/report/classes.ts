import type { TopLevelSpec } from "vega-lite";
import { reachOf } from "../metrics/student.ts";
import { renderChart } from "./chart.ts";
import { type CurvePoint, drawCurves, FIGURE } from "./curves.ts";
import type { ArmRecord } from "./data.ts";
import { overSeeds } from "./over-seeds.ts";
import type { ClassifierFigures } from "./probe-figures.ts";
import { grid, muted } from "./theme.ts";

/** The classifier: k-NN or a linear probe. */
export type By = "knn" | "linear";
/** Figures of an arm's seeds, with one kind of references. */
export interface Probed {
  name: string;
  color: string;
  seeds: readonly ClassifierFigures[];
}

/** More classes than this are drawn as a curve over groups of classes. */
const MOST_CLASSES = 20;
export const GROUPS = ["head", "medium", "tail"] as const;

/** A mean over seeds, and its interval. */
interface Mark {
  arm: string;
  at: string;
  y: number;
  low: number;
  high: number;
}

/** Whether `accuracyByClass` names each class, or draws a curve over many. */
export function classesAreNamed(arms: readonly Probed[]): boolean {
  return classCount(arms) <= MOST_CLASSES;
}

/** Whether the largest class has at least twice the training images of the smallest. */
export function isLongTailed({ classCounts }: Pick<ArmRecord, "classCounts">): boolean {
  return classCounts.length > 0 && Math.max(...classCounts) >= 2 * Math.min(...classCounts);
}

/**
 * Draws the accuracy within each class of every arm: a dot for each class, or a curve over groups if there are many
 * classes. In a long-tailed set, the classes with most training images come first.
 */
export function accuracyByClass(
  arms: readonly Probed[],
  by: By,
  { classNames, classCounts }: Pick<ArmRecord, "classNames" | "classCounts">,
): Promise<string> {
  const order = Array.from({ length: classCount(arms) }, (_, label) => label);
  if (isLongTailed({ classCounts })) order.sort((a, b) => (classCounts[b] ?? 0) - (classCounts[a] ?? 0));
  if (!classesAreNamed(arms)) {
    const title = isLongTailed({ classCounts }) ? "classes, the most training images first" : "classes";
    return overClasses(arms, by, order, title);
  }
  const named = order.map((label) => classNames[label] ?? `class ${label}`);
  return drawDots(
    arms,
    named,
    arms.flatMap(({ name, seeds }) =>
      order.flatMap((label, at) =>
        markOf(
          name,
          named[at] ?? "",
          seeds.map(({ perClass }) => perClass[by][label] ?? null),
        ),
      ),
    ),
  );
}

/** Draws the accuracy on head, medium and tail classes of every arm, as bars. */
export function accuracyByGroup(arms: readonly Probed[], by: By): Promise<string> {
  const marks = arms.flatMap(({ name, seeds }) =>
    GROUPS.flatMap((group) =>
      markOf(
        name,
        group,
        seeds.map(({ groups }) => groups?.[group][by] ?? null),
      ),
    ),
  );
  return drawBars(arms, marks);
}

function classCount(arms: readonly Probed[]): number {
  return Math.max(0, ...arms.flatMap(({ seeds }) => seeds.map(({ perClass }) => perClass.knn.length)));
}

function markOf(arm: string, at: string, values: readonly (number | null)[]): Mark[] {
  const curves = values.map((y) => (y === null ? [] : [{ x: 0, y }]));
  return overSeeds(curves, 1, reachOf).map(({ y, low = y, high = y }) => ({
    arm,
    at,
    y,
    low: Math.max(0, low),
    high: Math.min(1, high),
  }));
}

function overClasses(
  arms: readonly Probed[],
  by: By,
  order: readonly number[],
  title: string,
): Promise<string> {
  const points = arms.flatMap(({ name, seeds }): CurvePoint[] => {
    const curves = seeds.map(({ perClass }) =>
      order.flatMap((label, rank) => {
        const y = perClass[by][label] ?? null;
        return y === null ? [] : [{ x: (rank + 0.5) / order.length, y }];
      }),
    );
    return overSeeds(curves, MOST_CLASSES, reachOf).map((point) => ({ arm: name, ...point }));
  });
  return drawCurves(
    arms.map(({ name }) => name),
    points,
    {
      x: { title, domain: [0, 1], percent: true },
      y: { title: "accuracy", domain: [0, 1], percent: true },
      colors: new Map(arms.map(({ name, color }) => [name, color])),
    },
  );
}

const accuracy = {
  type: "quantitative" as const,
  scale: { domain: [0, 1] },
  axis: { format: ".0%", tickCount: 5 },
};

function colorOf(arms: readonly Probed[]) {
  return {
    field: "arm",
    type: "nominal" as const,
    scale: { domain: arms.map(({ name }) => name), range: arms.map(({ color }) => color) },
    legend: null,
  };
}

/** A row for each class, with room for every arm's dot. */
function drawDots(
  arms: readonly Probed[],
  classes: readonly string[],
  values: readonly Mark[],
): Promise<string> {
  const step = Math.max(17, 7 * arms.length + 4);
  const y = {
    field: "at",
    type: "nominal" as const,
    sort: [...classes],
    title: null,
    scale: { paddingInner: 0.3, paddingOuter: 0.15 },
    axis: { domain: false, ticks: false, grid: true, gridColor: grid, labelColor: muted },
  };
  const encoding = {
    y,
    yOffset: { field: "arm", type: "nominal" as const, sort: arms.map(({ name }) => name) },
    color: colorOf(arms),
  };
  const x = { ...accuracy, title: "accuracy" };
  const spec: TopLevelSpec = {
    width: FIGURE.width,
    height: step * classes.length + 44,
    autosize: { type: "fit", contains: "padding" },
    data: { values: [...values] },
    layer: [
      {
        mark: { type: "rule", strokeWidth: 2, opacity: 0.35 },
        encoding: { ...encoding, x: { ...x, field: "low" }, x2: { field: "high" } },
      },
      {
        mark: { type: "point", filled: true, opacity: 1, size: 36 },
        encoding: { ...encoding, x: { ...x, field: "y" } },
      },
    ],
  };
  return renderChart(spec);
}

function drawBars(arms: readonly Probed[], values: readonly Mark[]): Promise<string> {
  const encoding = {
    x: {
      field: "at",
      type: "nominal" as const,
      sort: [...GROUPS],
      title: null,
      axis: { labelAngle: 0, ticks: false },
    },
    xOffset: { field: "arm", type: "nominal" as const, sort: arms.map(({ name }) => name) },
    color: colorOf(arms),
  };
  const y = { ...accuracy, title: "accuracy" };
  const spec: TopLevelSpec = {
    ...FIGURE,
    autosize: { type: "fit", contains: "padding" },
    data: { values: [...values] },
    layer: [
      { mark: { type: "bar" }, encoding: { ...encoding, y: { ...y, field: "y" } } },
      {
        mark: { type: "rule", strokeWidth: 1.6 },
        encoding: {
          x: encoding.x,
          xOffset: encoding.xOffset,
          y: { ...y, field: "low" },
          y2: { field: "high" },
        },
      },
    ],
  };
  return renderChart(spec);
}
