import type { TopLevelSpec } from "vega-lite";
import { renderChart } from "./chart.ts";
import { armColors, muted, paper } from "./theme.ts";

/** A size in SVG units. */
export interface Size {
  width: number;
  height: number;
}

/** Small enough that text is legible at the full width of a phone. */
export const FIGURE: Size = { width: 440, height: 260 };

/** A point of an arm's curve; for several seeds a mean with its interval. */
export interface CurvePoint {
  arm: string;
  x: number;
  y: number;
  low?: number;
  high?: number;
}

export interface Axis {
  title: string;
  domain?: [number, number];
  log?: boolean;
  /** Positions of labels on a logarithmic axis; by default round numbers. */
  ticks?: readonly number[];
  percent?: boolean;
  /** Whether the axis starts at 0; default true. */
  fromZero?: boolean;
}

export interface CurveOptions {
  x: Axis;
  y: Axis;
  size?: Size;
  /** A labelled horizontal dashed line. */
  level?: { y: number; name: string };
  /** Another measure of the same arms, drawn as thin dashed lines in their colours. */
  beside?: readonly CurvePoint[];
  /** Colours of the arms, if these are only some of the page's arms. */
  colors?: ReadonlyMap<string, string>;
}

/** Points are marked in curves with up to this number. */
const MARKED = 40;

/** How far wide intervals may extend an axis on either side, as a multiple of the curves' span. */
const STRETCH = 0.5;

/** Draws a curve for each of `arms` (names, in order), in its colour. */
export function drawCurves(
  arms: readonly string[],
  points: readonly CurvePoint[],
  { x, y, size = FIGURE, level, beside = [], colors = armColors(arms) }: CurveOptions,
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
    y: { field: "y", type: "quantitative" as const, ...channelOf(y, spanOf(points, level?.y)) },
  };
  // Transparent enough that curves stay visible under many overlapping bands.
  const opacity = Math.min(0.16, 0.6 / arms.length);
  const bands = arms.flatMap((name) => {
    const values = points.filter(({ arm, low }) => arm === name && low !== undefined);
    if (values.length === 0) return [];
    const mark = { type: "area" as const, color: colors.get(name) ?? muted, opacity, clip: true };
    return [
      {
        data: { values },
        mark,
        encoding: { ...encoding, y: { ...encoding.y, field: "low" }, y2: { field: "high" } },
      },
    ];
  });
  const curves = arms.map((name, index) => {
    const color = colors.get(name) ?? muted;
    const values = points.filter(({ arm }) => arm === name);
    return {
      data: { values },
      mark: {
        type: "line" as const,
        color,
        // Wider, so that the first curve stays visible under others that coincide with it.
        strokeWidth: index === 0 && arms.length > 1 ? 2.8 : 2,
        point: values.length <= MARKED ? { size: 26, filled: true, color } : false,
      },
      encoding,
    };
  });
  const thin = arms.flatMap((name) => {
    const values = beside.filter(({ arm }) => arm === name);
    const color = colors.get(name) ?? muted;
    const mark = { type: "line" as const, color, strokeWidth: 1.2, strokeDash: [4, 4] };
    return values.length === 0 ? [] : [{ data: { values }, mark, encoding }];
  });
  const spec: TopLevelSpec = {
    ...size,
    autosize: { type: "fit", contains: "padding" },
    layer: [...(level === undefined ? [] : levelLayers(level)), ...bands, ...thin, ...curves],
  };
  return renderChart(spec);
}

/** The range of the axis: curves, level, and intervals up to a limit, since those of two seeds can be very wide. */
function spanOf(points: readonly CurvePoint[], level?: number): number[] {
  const ys = [...points.map(({ y }) => y), ...(level === undefined ? [] : [level])];
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const reach = STRETCH * (high - low || Math.abs(high) / 10);
  // A measure without negative values needs no negative range.
  const least = low >= 0 ? Math.max(0, low - reach) : low - reach;
  return [
    Math.max(Math.min(low, ...points.map((point) => point.low ?? low)), least),
    Math.min(Math.max(high, ...points.map((point) => point.high ?? high)), high + reach),
  ];
}

/** @param values the values to show, if the axis has no domain */
function channelOf({ title, percent, log, ticks, domain, fromZero = true }: Axis, values: readonly number[]) {
  const span = domain ?? [Math.min(...values), Math.max(...values)];
  const zero = domain === undefined && fromZero && log !== true;
  return {
    title,
    scale: {
      ...(log === true ? { type: "log" as const, nice: false } : { zero: false, nice: domain === undefined }),
      ...(span.every(Number.isFinite) && {
        domain: zero ? [Math.min(0, ...span), Math.max(0, ...span)] : span,
      }),
    },
    axis:
      log === true
        ? { format: "~g", values: [...(ticks ?? logTicks(span))] }
        : { tickCount: 5, ...(percent === true ? { format: ".1~%" } : {}) },
  };
}

/** 1, 10, 100, ... within a span; 1, 2, 5, 10, ... if these are few. */
function logTicks([low = 0, high = 0]: readonly number[]): number[] {
  const decades = Array.from({ length: 13 }, (_, i) => 10 ** (i - 6));
  const within = (ticks: number[]) => ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  const coarse = within(decades);
  return coarse.length > 3 ? coarse : within(decades.flatMap((tick) => [tick, 2 * tick, 5 * tick]));
}

/** A dashed line over the whole width, with its name at the right on a halo in the background colour. */
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
