import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import type { Vectors } from "../files/rows.ts";
import type { ArmRecord } from "./data.ts";
import { FONT, faint, grid, ink, muted } from "./theme.ts";

export interface SpherePicture {
  svg: string;
  /** Share of the squared length in the figure's three directions, in [0, 1]. */
  shown: { embeddings: number; prototypes: number };
  /** The number of prototypes that are drawn. */
  drawn: number;
}

const RADIUS = 100;
const MOST_PROTOTYPES = 1500;
const MOST_EMBEDDINGS = 1000;

/**
 * Embeddings and prototypes of one arm on the sphere, as two hemispheres.
 *
 * The figure shows the three directions with most of the embeddings' squared length: the leading
 * eigenvectors of H^T H, not centred, so that angles are preserved. Points are normalised in this
 * subspace and drawn by Lambert's equal-area projection, seen along the first direction from both
 * sides. Equal areas show equal solid angles, so dense regions of the figure are dense on the sphere.
 */
export function drawSphere({ sample, prototypes, wins }: ArmRecord, color: string): SpherePicture {
  const axes = leadingDirections(sample);
  const embeddings = project(sample, axes, MOST_EMBEDDINGS);
  const centers = project(prototypes, axes, MOST_PROTOTYPES);
  const used = centers.points.filter(({ row }) => (wins[row] ?? 0) > 0);
  const idle = centers.points.filter(({ row }) => (wins[row] ?? 0) === 0);
  const width = 4 * RADIUS + 40;
  const height = 2 * RADIUS + 44;
  const sides = [1, -1].map((side) => {
    const onSide = (points: readonly Point[]) => points.filter(({ u }) => (u >= 0 ? 1 : -1) === side);
    const x = side === 1 ? RADIUS + 10 : 3 * RADIUS + 30;
    return [
      `<g transform="translate(${x} ${RADIUS + 10})">`,
      `<circle r="${RADIUS}" fill="#fafbfc" stroke="${faint}"/>`,
      `<path d="M${-RADIUS} 0H${RADIUS}M0 ${-RADIUS}V${RADIUS}" stroke="${grid}"/>`,
      dots(onSide(embeddings.points), faint, 3, 0.55),
      rings(onSide(idle), color),
      dots(onSide(used), color, 3.8, 0.9),
      `<text y="${RADIUS + 20}" text-anchor="middle" fill="${muted}">`,
      side === 1 ? "front" : "back",
      "</text></g>",
    ].join("");
  });
  return {
    svg: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family='${FONT}' font-size="11" fill="${ink}">${sides.join("")}</svg>`,
    shown: { embeddings: embeddings.shown, prototypes: centers.shown },
    drawn: centers.points.length,
  };
}

/** A row in the three directions, at unit length: `u` along the first, x and y in the figure. */
interface Point {
  row: number;
  u: number;
  x: number;
  y: number;
}

/** The leading directions, 3 x D. Each points to the side of the embeddings' mean. */
function leadingDirections({ rows, dim, data }: Vectors): number[][] {
  const second = Matrix.zeros(dim, dim);
  const mean = new Float64Array(dim);
  for (let row = 0; row < rows; row++) {
    for (let a = 0; a < dim; a++) {
      const left = data[row * dim + a] ?? 0;
      mean[a] = (mean[a] ?? 0) + left;
      for (let b = 0; b < dim; b++) second.set(a, b, second.get(a, b) + left * (data[row * dim + b] ?? 0));
    }
  }
  const { eigenvectorMatrix } = new EigenvalueDecomposition(second, { assumeSymmetric: true });
  return [1, 2, 3]
    .filter((rank) => rank <= dim)
    .map((rank) => {
      const axis = eigenvectorMatrix.getColumn(dim - rank);
      const along = axis.reduce((sum, x, d) => sum + x * (mean[d] ?? 0), 0);
      return along < 0 ? axis.map((x) => -x) : axis;
    });
}

/** Projects evenly chosen rows, at most `most`. `shown`: the mean squared length of all rows in the three directions. */
function project({ rows, dim, data }: Vectors, axes: readonly number[][], most: number) {
  const every = Math.ceil(rows / most);
  const points: Point[] = [];
  let shown = 0;
  for (let row = 0; row < rows; row++) {
    const [u = 0, v = 0, w = 0] = axes.map((axis) =>
      axis.reduce((sum, x, d) => sum + x * (data[row * dim + d] ?? 0), 0),
    );
    const length = Math.hypot(u, v, w);
    shown += length ** 2 / rows;
    if (row % every !== 0 || length === 0) continue;
    // Lambert: the distance from the centre is the chord, which preserves areas. The rim is at 90 degrees.
    const flat = Math.hypot(v, w);
    const radius = RADIUS * Math.sqrt(1 - Math.abs(u) / length);
    points.push({
      row,
      u,
      x: flat === 0 ? 0 : (radius * v) / flat,
      y: flat === 0 ? 0 : (-radius * w) / flat,
    });
  }
  return { points, shown };
}

/** Many dots as one path: a zero-length stroke with a round cap is a dot. */
function dots(points: readonly Point[], color: string, size: number, opacity: number): string {
  const path = points.map(({ x, y }) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  return `<path class="dots" d="${path}" stroke="${color}" stroke-width="${size}" stroke-linecap="round" stroke-opacity="${opacity}"/>`;
}

function rings(points: readonly Point[], color: string): string {
  const path = points
    .map(({ x, y }) => `M${(x - 2).toFixed(1)} ${y.toFixed(1)}a2 2 0 1 0 4 0a2 2 0 1 0 -4 0`)
    .join("");
  return `<path class="rings" d="${path}" fill="none" stroke="${color}" stroke-width="0.9" stroke-opacity="0.8"/>`;
}
