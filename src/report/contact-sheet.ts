import type { ArmRecord, NearestImages } from "./data.ts";
import { count, escapeXml } from "./format.ts";
import { encodePng } from "./png.ts";

/** Larger images are scaled down by a whole factor, since eight of them share the width of a figure. */
const MOST_PIXELS = 64;
/** Width of the white gap between two images, in pixels. */
const GAP = 1;

/** An HTML list with a row for each sample prototype: its number, its wins, and the nearest images. */
export function contactSheet({ nearest, wins, classNames }: ArmRecord): string | null {
  if (nearest === undefined || nearest.prototypes.length === 0) return null;
  const rows = nearest.prototypes.map((prototype, row) => {
    const won = wins[prototype] ?? 0;
    const { url, width, height, labels } = strip(nearest, row);
    const seen = labels.map((label) => classNames[label] ?? `class ${label}`).join(", ");
    const alt = `The training images nearest to prototype ${prototype}: ${seen}`;
    const number = `<span><b>${prototype}</b> <small>${won === 1 ? "1 win" : `${count(won)} wins`}</small></span>`;
    return `<li>${number}<img src="${url}" alt="${escapeXml(alt)}" title="${escapeXml(seen)}" width="${width}" height="${height}"></li>`;
  });
  return `<ol class="sheet">${rows.join("")}</ol>`;
}

/** The images of one prototype side by side, as a data URL of a PNG. */
function strip({ images: { shape, data }, labels }: NearestImages, row: number) {
  const [, across = 0, side = 0] = shape;
  const shrink = Math.ceil(side / MOST_PIXELS);
  const pixels = Math.floor(side / shrink);
  const width = across * (pixels + GAP) - GAP;
  const rgb = new Uint8Array(3 * width * pixels).fill(255);
  for (let image = 0; image < across; image++) {
    const start = (row * across + image) * side * side * 3;
    for (let y = 0; y < pixels; y++) {
      for (let x = 0; x < pixels; x++) {
        for (let channel = 0; channel < 3; channel++) {
          const at = 3 * (y * width + image * (pixels + GAP) + x) + channel;
          rgb[at] = Math.round(meanOf(data, start + channel, side, shrink, y * shrink, x * shrink));
        }
      }
    }
  }
  return {
    url: `data:image/png;base64,${encodePng(width, pixels, rgb).toString("base64")}`,
    width,
    height: pixels,
    labels: Array.from({ length: across }, (_, image) => labels[row * across + image] ?? -1),
  };
}

/** The mean of one channel over `size` x `size` pixels. */
function meanOf(
  data: ArrayLike<number>,
  start: number,
  side: number,
  size: number,
  top: number,
  left: number,
): number {
  let sum = 0;
  for (let y = top; y < top + size; y++) {
    for (let x = left; x < left + size; x++) sum += data[start + 3 * (y * side + x)] ?? 0;
  }
  return sum / size ** 2;
}
