import { Resvg } from "@resvg/resvg-js";
import type { Size } from "./curves.ts";
import { escapeXml } from "./format.ts";
import { FONT, ink, muted, PIXEL_FONT, paper } from "./theme.ts";

const MARGIN = 20;
const HEADING = 40;

export interface PictureOptions {
  /** Names and colours, at the right end of the title's line. */
  legend?: ReadonlyMap<string, string>;
  /** Pixels to a unit of the panels. */
  scale?: number;
}

/** Panels of one size beside each other under a title, as one SVG. */
export function sideBySide(
  title: string,
  panels: readonly string[],
  { width, height }: Size,
  { legend = new Map(), scale = 1 }: PictureOptions = {},
): string {
  const whole = { width: panels.length * (width + MARGIN) + MARGIN, height: HEADING + height + MARGIN };
  const placed = panels.map((panel, i) =>
    panel.replace("<svg", `<svg x="${MARGIN + i * (width + MARGIN)}" y="${HEADING}"`),
  );
  // Spaces rather than offsets: not every renderer counts those in the length of a text that ends at a point.
  const names = [...legend].map(
    ([name, color]) => `<tspan fill="${color}">●</tspan>\u00a0${escapeXml(name)}`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${whole.width} ${whole.height}" width="${scale * whole.width}" height="${scale * whole.height}" font-family='${FONT}'>`,
    `<rect width="100%" height="100%" fill="${paper}"/>`,
    `<text x="${MARGIN + 4}" y="26" font-size="15" font-weight="600" fill="${ink}">${escapeXml(title)}</text>`,
    `<text x="${whole.width - MARGIN}" y="26" font-size="12" text-anchor="end" fill="${muted}">${names.join("\u2003")}</text>`,
    ...placed,
    "</svg>",
  ].join("\n");
}

/** An SVG as PNG, `scale` pixels to a unit. */
export function toPng(svg: string, scale = 2): Uint8Array {
  const options = {
    fitTo: { mode: "zoom" as const, value: scale },
    font: { defaultFontFamily: PIXEL_FONT, sansSerifFamily: PIXEL_FONT },
  };
  return new Resvg(svg, options).render().asPng();
}
