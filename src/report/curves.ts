import type { TopLevelSpec } from "vega-lite";
import { renderChart } from "./chart.ts";
import { armColors, muted, paper } from "./theme.ts";

/** In SVG units. */
export interface Size {
  width: number;
  height: number;
}

/** Small enough that the text is legible where a phone shows it at full width. */
export const FIGURE: Size = { width: 440, height: 260 };

/** A point of a curve; each arm and seed is a curve of its own. */
export interface CurvePoint {
  arm: string;
  seed: number;
  x: number;
  y: number;
}

export interface Axis {
  title: string;
  domain?: [number, number];
  log?: boolean;
  percent?: boolean;
  /** Whether the axis starts at 0; it does where it is left out. */
  fromZero?: boolean;
}

export interface CurveOptions {
  x: Axis;
  y: Axis;
  size?: Size;
  /** A dashed line across, with its name. */
  level?: { y: number; name: string };
}

/** Up to so many points an arm, each is marked. */
const MARKED = 40;

/** Draws the curves of `arms` (names, in their order), each in the arm's colour. */
export function drawCurves(
  arms: readonly string[],
  points: readonly CurvePoint[],
  { x, y, size = FIGURE, level }: CurveOptions,
): Promise<string> {
  const encoding = {
    x: {
      field: "x",
      type: "quantitative" as const,
      ...channelOf(
        x,
        points.map((point) => point.x),
      ),
    },
    y: {
      field: "y",
      type: "quantitative" as const,
      ...channelOf(
        y,
        points.map((point) => point.y),
      ),
    },
    detail: { field: "seed", type: "nominal" as const },
  };
  const curves = [...armColors(arms)].map(([name, color], index) => {
    const values = points.filter(({ arm }) => arm === name);
    return {
      data: { values },
      mark: {
        type: "line" as const,
        color,
        // Where curves coincide, the first one still shows around the others.
        strokeWidth: index === 0 && arms.length > 1 ? 2.8 : 2,
        point: values.length <= MARKED ? { size: 26, filled: true, color } : false,
      },
      encoding,
    };
  });
  const spec: TopLevelSpec = {
    ...size,
    autosize: { type: "fit", contains: "padding" },
    layer: [...(level === undefined ? [] : levelLayers(level)), ...curves],
  };
  return renderChart(spec);
}

function channelOf({ title, percent, log, domain, fromZero = true }: Axis, values: readonly number[]) {
  const span = domain ?? [Math.min(...values), Math.max(...values)];
  const scale = log === true ? { type: "log" as const, nice: false } : { zero: fromZero };
  return {
    title,
    scale: { ...scale, ...(domain === undefined ? {} : { domain }) },
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
