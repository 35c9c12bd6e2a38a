import type { TopLevelSpec } from "vega-lite";
import { quantile } from "../metrics/quantile.ts";
import { renderChart } from "./chart.ts";
import type { ArmRecord, Measurement } from "./data.ts";
import { percent } from "./format.ts";
import { armColors, muted, paper } from "./theme.ts";

/** In SVG units. */
export interface Size {
  width: number;
  height: number;
}

/** Small enough that the text is legible where a phone shows it at full width. */
export const FIGURE: Size = { width: 440, height: 260 };

/** Where uniqueness is drawn against epsilon: evenly on a log scale from 0.005 to 1. */
export const EPSILON_GRID: readonly number[] = Array.from({ length: 30 }, (_, i) =>
  Number((0.005 * 200 ** (i / 29)).toPrecision(4)),
);

/** A point of a curve; each arm and seed is a curve of its own. */
export interface CurvePoint {
  arm: string;
  seed: number;
  x: number;
  y: number;
}

interface Axis {
  title: string;
  domain?: [number, number];
  log?: boolean;
  percent?: boolean;
  /** Whether the axis starts at 0; it does where it is left out. */
  fromZero?: boolean;
}

interface CurveOptions {
  x: Axis;
  y: Axis;
  size?: Size;
  /** A dashed line across, with its name. */
  level?: { y: number; name: string };
}

const STEP: Axis = { title: "training step" };
/** Up to so many points a curve, each is marked. */
const MARKED = 40;
/** More points than this a curve are averaged in bins. */
const MOST_POINTS = 200;

/** k-NN accuracy at every evaluation, and the level of the untrained encoder. */
export function knnOverTraining(
  arms: readonly ArmRecord[],
  untrained: number,
  size = FIGURE,
): Promise<string> {
  return drawCurves(
    arms,
    over(arms, ({ knn }) => knn),
    {
      x: STEP,
      y: { title: "k-NN accuracy", percent: true, fromZero: false },
      level: { y: untrained, name: `untrained encoder ${percent(untrained, 1)}` },
      size,
    },
  );
}

/** Uniqueness at one epsilon at every evaluation. */
export function uniqueOverTraining(
  arms: readonly ArmRecord[],
  epsilon: string,
  size = FIGURE,
): Promise<string> {
  return drawCurves(
    arms,
    over(arms, ({ unique }) => unique?.[epsilon]),
    {
      x: STEP,
      y: { title: `unique prototypes at distance ${epsilon}`, domain: [0, 1], percent: true },
      size,
    },
  );
}

/** Share of prototypes that win a training image, at every evaluation. */
export function usedOverTraining(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  return drawCurves(
    arms,
    over(arms, ({ used }) => used),
    {
      x: STEP,
      y: { title: "used prototypes", domain: [0, 1], percent: true },
      size,
    },
  );
}

/** The loss, averaged over bins of steps where there are many. */
export function lossOverTraining(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  return drawCurves(
    arms,
    over(arms, ({ loss }) => loss ?? undefined),
    {
      x: STEP,
      y: { title: "loss", fromZero: false },
      size,
    },
  );
}

/** Uniqueness as a function of epsilon; `curves` maps an arm to [epsilon, share]. */
export function uniqueOverEpsilon(
  arms: readonly ArmRecord[],
  curves: ReadonlyMap<string, readonly (readonly [number, number])[]>,
  size = FIGURE,
): Promise<string> {
  const points = [...curves].flatMap(([arm, curve]) => curve.map(([x, y]) => ({ arm, seed: 0, x, y })));
  return drawCurves(arms, points, {
    x: { title: "cosine distance that counts as different (log scale)", log: true },
    y: { title: "unique prototypes", domain: [0, 1], percent: true },
    size,
  });
}

/** For each distance, the share of prototypes whose nearest other one is closer. */
export function nearestDistances(
  arms: readonly ArmRecord[],
  nearest: ReadonlyMap<string, Float64Array>,
  size = FIGURE,
): Promise<string> {
  const points = [...nearest].flatMap(([arm, distances]) => {
    const sorted = distances.filter(Number.isFinite).sort();
    return Array.from({ length: MOST_POINTS + 1 }, (_, i) => {
      const y = i / MOST_POINTS;
      return { arm, seed: 0, x: quantile(sorted, y), y };
    }).filter(({ x }) => Number.isFinite(x));
  });
  return drawCurves(arms, points, {
    x: { title: "cosine distance to the nearest other prototype" },
    y: { title: "share of prototypes", domain: [0, 1], percent: true },
    size,
  });
}

/** Wins of each prototype, the most used first, in multiples of an even share. */
export function winsByRank(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  const points = arms.flatMap(({ name, wins }) => {
    const sorted = Array.from(wins).sort((a, b) => b - a);
    const even = sorted.reduce((sum, n) => sum + n, 0) / sorted.length;
    const won = sorted.filter((n) => n > 0);
    const every = Math.max(1, Math.floor(won.length / MOST_POINTS));
    return won
      .map((n, rank) => ({ arm: name, seed: 0, x: (rank + 1) / sorted.length, y: n / even }))
      .filter((_, rank) => rank % every === 0 || rank === won.length - 1);
  });
  return drawCurves(arms, points, {
    x: { title: "prototypes, the most used first", domain: [0, 1], percent: true },
    y: { title: "images won, in even shares (log scale)", log: true },
    level: { y: 1, name: "an even share" },
    size,
  });
}

/** The curve of one measure for every arm and seed. */
function over(
  arms: readonly ArmRecord[],
  value: (measurement: Measurement) => number | undefined,
): CurvePoint[] {
  return arms.flatMap(({ name, trainings }) =>
    trainings.flatMap(({ seed, measurements }) => {
      const points = measurements.flatMap((measurement) => {
        const y = value(measurement);
        return y === undefined || !Number.isFinite(y) ? [] : [{ arm: name, seed, x: measurement.step, y }];
      });
      return binned(points);
    }),
  );
}

/** Means of x and y over bins of equally many points. */
function binned(points: CurvePoint[]): CurvePoint[] {
  const bin = Math.ceil(points.length / MOST_POINTS);
  if (bin <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / bin) }, (_, b) => {
    const part = points.slice(b * bin, (b + 1) * bin);
    const mean = (of: (point: CurvePoint) => number) => part.reduce((sum, p) => sum + of(p), 0) / part.length;
    return { arm: part[0]?.arm ?? "", seed: part[0]?.seed ?? 0, x: mean((p) => p.x), y: mean((p) => p.y) };
  });
}

function drawCurves(
  arms: readonly ArmRecord[],
  points: readonly CurvePoint[],
  { x, y, size = FIGURE, level }: CurveOptions,
): Promise<string> {
  const colors = armColors(arms.map(({ name }) => name));
  const longest = Math.max(0, ...arms.map(({ name }) => points.filter(({ arm }) => arm === name).length));
  const spec: TopLevelSpec = {
    ...size,
    autosize: { type: "fit", contains: "padding" },
    layer: [
      ...(level === undefined ? [] : levelLayers(level)),
      {
        data: { values: [...points] },
        mark: { type: "line", point: longest <= MARKED ? { size: 26, filled: true } : false },
        encoding: {
          x: {
            field: "x",
            type: "quantitative",
            ...axisOf(
              x,
              points.map((point) => point.x),
            ),
            ...scaleOf(x),
          },
          y: {
            field: "y",
            type: "quantitative",
            ...axisOf(
              y,
              points.map((point) => point.y),
            ),
            ...scaleOf(y),
          },
          detail: { field: "seed", type: "nominal" },
          color: {
            field: "arm",
            type: "nominal",
            scale: { domain: [...colors.keys()], range: [...colors.values()] },
            legend: null,
          },
          // Where curves coincide, the first one still shows around the others.
          strokeWidth: {
            field: "arm",
            type: "ordinal",
            sort: [...colors.keys()],
            scale: {
              domain: [...colors.keys()],
              range: [...colors.keys()].map((_, arm) => (arm === 0 ? 3.4 : 2)),
            },
            legend: null,
          },
        },
      },
    ],
  };
  return renderChart(spec);
}

function axisOf({ title, percent, log, domain }: Axis, values: readonly number[]) {
  const span: readonly number[] = domain ?? [Math.min(...values), Math.max(...values)];
  return {
    title,
    axis:
      log === true
        ? { format: "~g", values: logTicks(span) }
        : { tickCount: 5, ...(percent === true ? { format: ".0%" } : {}) },
  };
}

/** 1, 10, 100, ... within a span; 1, 2, 5, 10, ... where that is few. */
function logTicks([low = 0, high = 0]: readonly number[]): number[] {
  const decades = Array.from({ length: 13 }, (_, i) => 10 ** (i - 6));
  const within = (ticks: number[]) => ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  const coarse = within(decades);
  return coarse.length > 3 ? coarse : within(decades.flatMap((tick) => [tick, 2 * tick, 5 * tick]));
}

function scaleOf({ domain, log, fromZero = true }: Axis) {
  return {
    scale: {
      ...(log === true ? { type: "log" as const, nice: false } : { zero: fromZero }),
      ...(domain === undefined ? {} : { domain }),
    },
  };
}

/** A dashed line over the whole width; its name stands at the right, on a halo of the paper's colour. */
function levelLayers({ y, name }: { y: number; name: string }) {
  const at = { data: { values: [{ level: y }] } };
  const encoding = { y: { field: "level", type: "quantitative" as const } };
  const text = { text: name, align: "right" as const, baseline: "bottom" as const, dy: -3, fontSize: 10.5 };
  return [
    { ...at, mark: { type: "rule" as const, strokeDash: [5, 4], color: muted, strokeWidth: 1.2 }, encoding },
    ...[{ stroke: paper, strokeWidth: 3, color: paper }, { color: muted }].map((style) => ({
      ...at,
      mark: { type: "text" as const, ...text, ...style },
      encoding: { ...encoding, x: { value: "width" as const } },
    })),
  ];
}
