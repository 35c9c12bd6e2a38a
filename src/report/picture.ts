import { Resvg } from "@resvg/resvg-js";
import type { Size } from "./curves.ts";
import { escapeXml } from "./format.ts";
import { FONT, ink, muted, PIXEL_FONT, paper } from "./theme.ts";

const MARGIN = 20;
const HEADING = 40;
const LEGEND_ROW = 20;
const LEGEND_COLUMNS = 4;
/** The usual width of a letter in the legend and the title, in units. */
const LETTER = { legend: 7, title: 9 };

export interface PictureOptions {
  /** Names and colours, shown at the right end of the title's line, or in rows below it if there is no room. */
  legend?: ReadonlyMap<string, string>;
  /** Pixels per unit of the panels. */
  scale?: number;
}

/** Combines panels of one size side by side under a title, as one SVG. */
export function sideBySide(
  title: string,
  panels: readonly string[],
  { width, height }: Size,
  { legend = new Map(), scale = 1 }: PictureOptions = {},
): string {
  const whole = panels.length * (width + MARGIN) + MARGIN;
  const { rows, marks } = legendOf(legend, title, whole);
  const heading = HEADING + rows * LEGEND_ROW;
  const tall = heading + height + MARGIN;
  const placed = panels.map((panel, i) =>
    panel.replace("<svg", `<svg x="${MARGIN + i * (width + MARGIN)}" y="${heading}"`),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${whole} ${tall}" width="${scale * whole}" height="${scale * tall}" font-family='${FONT}'>`,
    `<rect width="100%" height="100%" fill="${paper}"/>`,
    `<text x="${MARGIN + 4}" y="26" font-size="15" font-weight="600" fill="${ink}">${escapeXml(title)}</text>`,
    ...marks,
    ...placed,
    "</svg>",
  ].join("\n");
}

function legendOf(legend: ReadonlyMap<string, string>, title: string, whole: number) {
  const names = [...legend].map(
    ([name, color]) => `<tspan fill="${color}">●</tspan>\u00a0${escapeXml(name)}`,
  );
  const text = (attributes: string, content: string) =>
    `<text ${attributes} font-size="12" fill="${muted}">${content}</text>`;
  const letters = [...legend.keys()].reduce((sum, name) => sum + name.length + 4, 0);
  if (letters * LETTER.legend + title.length * LETTER.title < whole - 2 * MARGIN) {
    // Spaces instead of offsets, which not every renderer includes in the length of end-anchored text.
    const line = text(`x="${whole - MARGIN}" y="26" text-anchor="end"`, names.join("\u2003"));
    return { rows: 0, marks: [line] };
  }
  const column = (whole - 2 * MARGIN) / LEGEND_COLUMNS;
  const marks = names.map((name, at) => {
    const x = MARGIN + 4 + (at % LEGEND_COLUMNS) * column;
    const y = 30 + LEGEND_ROW * (1 + Math.floor(at / LEGEND_COLUMNS));
    return text(`x="${x}" y="${y}"`, name);
  });
  return { rows: Math.ceil(names.length / LEGEND_COLUMNS), marks };
}

/** Converts an SVG to PNG, with `scale` pixels per unit. */
export function toPng(svg: string, scale = 2): Uint8Array {
  const options = {
    fitTo: { mode: "zoom" as const, value: scale },
    font: { defaultFontFamily: PIXEL_FONT, sansSerifFamily: PIXEL_FONT },
  };
  return new Resvg(svg, options).render().asPng();
}
