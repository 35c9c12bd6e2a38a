import { Resvg } from "@resvg/resvg-js";
import type { Size } from "./curves.ts";
import { escapeXml } from "./format.ts";
import { FONT, ink, PIXEL_FONT, paper } from "./theme.ts";

const MARGIN = 20;
const HEADING = 40;

/** Panels of one size beside each other under a title, as one SVG. `extra` is drawn at the title's right end. */
export function sideBySide(
  title: string,
  panels: readonly string[],
  { width, height }: Size,
  extra = "",
): string {
  const totalWidth = panels.length * width + (panels.length + 1) * MARGIN;
  const totalHeight = HEADING + height + MARGIN;
  const placed = panels.map((panel, i) =>
    panel.replace("<svg", `<svg x="${MARGIN + i * (width + MARGIN)}" y="${HEADING}"`),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${totalWidth} ${totalHeight}" width="${totalWidth}" height="${totalHeight}" font-family='${FONT}'>`,
    `<rect width="100%" height="100%" fill="${paper}"/>`,
    `<text x="${MARGIN + 4}" y="26" font-size="15" font-weight="600" fill="${ink}">${escapeXml(title)}</text>`,
    `<g transform="translate(${totalWidth - MARGIN} 26)">${extra}</g>`,
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
