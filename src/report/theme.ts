import type { Config } from "vega-lite";

/** The style of all of mixhead's figures. */

export const FONT =
  '"Inter", "Helvetica Neue", Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif';

/** The fallback font of PNG figures. */
export const PIXEL_FONT = "DejaVu Sans";

export const ink = "#1b2430";
export const muted = "#5b6674";
export const faint = "#9aa4b1";
export const grid = "#e8ebef";
export const paper = "#ffffff";

/** Okabe and Ito's colours, which colour-blind people can distinguish. Those of the usual arms are fixed. */
const ofArm: Record<string, string> = { decoupled: "#0072b2", joint: "#d55e00", frozen: "#009e73" };
const others = ["#cc79a7", "#b8860b", "#56b4e9", "#7b5ea7", "#1b2430", "#8c564b", "#7f9c1a", "#e377c2"];

/**
 * One colour per arm, the same in every figure. Known arms always have the same colour; of several RUN/ARM with
 * the same ARM, only the first does.
 */
export function armColors(names: readonly string[]): Map<string, string> {
  const ends = names.map((name) => name.slice(name.lastIndexOf("/") + 1));
  const known = ends.map((end, at) => (ends.indexOf(end) === at ? ofArm[end] : undefined));
  let next = 0;
  return new Map(names.map((name, at) => [name, known[at] ?? otherColor(next++)]));
}

/** Colours repeat after the last one, darker each time; the darkest becomes lighter, so that all stay legible. */
function otherColor(at: number): string {
  const color = others[at % others.length] ?? ink;
  const kept = 2 / (2 + Math.floor(at / others.length));
  return shade(color, kept, color === ink ? 255 : 0);
}

/** Mixes a colour with black (0) or white (255). `kept`: the share of the colour. */
export function shade(color: string, kept: number, from: 0 | 255 = 0): string {
  const channels = color.match(/\w\w/g) ?? [];
  const shades = channels.map((hex) => Math.round(from + kept * (Number.parseInt(hex, 16) - from)));
  return `#${shades.map((one) => one.toString(16).padStart(2, "0")).join("")}`;
}

/** The configuration of every Vega-Lite chart. */
export const chartConfig: Config = {
  background: "transparent",
  font: FONT,
  padding: 4,
  view: { stroke: null },
  axis: {
    labelColor: muted,
    titleColor: ink,
    labelFontSize: 11,
    titleFontSize: 11.5,
    titleFontWeight: "normal",
    titlePadding: 8,
    labelPadding: 5,
    gridColor: grid,
    domainColor: faint,
    tickColor: faint,
    tickSize: 4,
    labelOverlap: true,
  },
  axisX: { grid: false, labelFlush: false },
  // The title is horizontal above its axis: easier to read, and not limited by the axis's length.
  axisY: {
    domain: false,
    ticks: false,
    titleAngle: 0,
    titleAlign: "left",
    titleAnchor: "start",
    titleBaseline: "bottom",
    titleX: 0,
    titleY: -10,
  },
  line: { strokeCap: "round", strokeJoin: "round" },
};
