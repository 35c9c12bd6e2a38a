import { setImmediate as yieldToEvents } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import type { Rows } from "../files/rows.ts";
import { dot, unitFloat64 } from "./unit.ts";

/** The cosine distances at which uniqueness is reported. */
export const EPSILONS: readonly number[] = [0.025, 0.1, 0.25, 0.5];

export interface MeasureOptions {
  /** What the rows are called in an error: a file, or "prototypes". */
  source?: string;
  /** Told the share that is done, rising to 1. */
  onProgress?: (done: number) => void;
}

export interface GeometryOptions extends MeasureOptions {
  /** Cosine distances above 0; those of the reports where left out. */
  epsilons?: readonly number[];
}

export interface Geometry {
  /** By epsilon ("0.025"): the share of prototypes, in (0, 1], that a greedy cover keeps. */
  unique: Record<string, number>;
  /** Length K: cosine distance, in [0, 2], of each prototype to the nearest other one; NaN where K is 1. */
  nearest: Float64Array;
}

export interface GeometryInUse extends Geometry {
  /** By epsilon: the share of K, in [0, 1], that the same cover keeps of the prototypes that are used. */
  distinctUsed: Record<string, number>;
}

/** Float32 products are off by less than this; pairs closer to an epsilon are decided in float64. */
const MARGIN = 1e-5;
/** Rows and columns of one product: 4 MB of float32. */
const BLOCK = 1024;

/**
 * How far K prototypes have collapsed: uniqueness at every epsilon and the distance of each prototype
 * to its nearest neighbour, in one pass over the pairs.
 *
 * Uniqueness is the paper's: of the L2-normalised rows, walked in index order, the first uncovered one
 * becomes a representative and covers every uncovered one with 1 - cos < epsilon; the share is the
 * representatives' over K. A row is a representative exactly where no earlier representative covers it,
 * so blocks of the upper triangle in row order decide it, and no K x K matrix is ever held.
 *
 * The products are the active tfjs backend's, in float32; every decision and distance that float32
 * could get wrong is computed again in float64. The event loop gets its turn after each block (~20 ms).
 * UserError where a row is not finite or all zero.
 */
export async function geometry(prototypes: Rows, options: GeometryOptions = {}): Promise<Geometry> {
  const pairs = await walk(prototypes, null, options);
  return { unique: pairs.unique(), nearest: pairs.nearest() };
}

/**
 * `geometry`, and in the same pass `distinctUsed`: the cover of those prototypes alone that win anything,
 * walked in index order, over all K. What is not used neither counts nor covers.
 *
 * @param wins K numbers, above 0 where a prototype is used
 */
export async function geometryInUse(
  prototypes: Rows,
  wins: ArrayLike<number>,
  options: GeometryOptions = {},
): Promise<GeometryInUse> {
  const pairs = await walk(prototypes, wins, options);
  return { unique: pairs.unique(), nearest: pairs.nearest(), distinctUsed: pairs.distinctUsed() };
}

/** Uniqueness alone, as `geometry` defines it: `{"0.025": share, ...}`. */
export async function uniqueness(
  prototypes: Rows,
  epsilons: readonly number[] = EPSILONS,
  options: MeasureOptions = {},
): Promise<Record<string, number>> {
  return (await geometry(prototypes, { ...options, epsilons })).unique;
}

async function walk(
  prototypes: Rows,
  wins: ArrayLike<number> | null,
  { epsilons = EPSILONS, source = "prototypes", onProgress }: GeometryOptions,
): Promise<Pairs> {
  const { rows: K, dim: D } = prototypes;
  const unit = unitFloat64(prototypes, source);
  const pairs = new Pairs(unit, K, D, epsilons, wins);
  const starts = Array.from({ length: Math.ceil(K / BLOCK) }, (_, block) => block * BLOCK);
  const rowsFrom = (start: number) => {
    const end = Math.min(K, start + BLOCK);
    return tf.tensor2d(new Float32Array(unit.subarray(start * D, end * D)), [end - start, D]);
  };
  // Blocks are tensors of their own, transposed once: on wasm a slice copies the whole tensor that it
  // is taken from, and a product with a transpose flag is ten times slower.
  const columns = starts.map((start) => tf.tidy(() => tf.transpose(rowsFrom(start))));
  try {
    for (const [block, row] of starts.entries()) {
      const rows = rowsFrom(row);
      for (const [ahead, right] of columns.slice(block).entries()) {
        const product = tf.matMul(rows, right);
        pairs.scan(await product.data<"float32">(), row, row + ahead * BLOCK, right.shape[1]);
        product.dispose();
        await yieldToEvents();
      }
      rows.dispose();
      onProgress?.(1 - (1 - (block + 1) / starts.length) ** 2);
    }
  } finally {
    tf.dispose(columns);
  }
  return pairs;
}

/** A greedy cover at one epsilon. */
interface Cover {
  epsilon: number;
  /** 1 where a representative covers a row that comes after it; or where the row does not take part. */
  covered: Uint8Array;
}

/** What the pass over the pairs i < j has found so far. */
class Pairs {
  /** By epsilon, as they were asked for: of all rows, and of those that are used. */
  private readonly all: Cover[];
  private readonly used: Cover[];
  /** Both, the largest epsilon first, so that the first one that a pair misses ends the search. */
  private readonly covers: Cover[];
  private readonly best: Float32Array;
  private readonly bestIndex: Int32Array;

  constructor(
    private readonly unit: Float64Array,
    private readonly count: number,
    private readonly dim: number,
    epsilons: readonly number[],
    wins: ArrayLike<number> | null,
  ) {
    this.all = epsilons.map((epsilon) => ({ epsilon, covered: new Uint8Array(count) }));
    const idle = wins && Uint8Array.from({ length: count }, (_, k) => ((wins[k] ?? 0) > 0 ? 0 : 1));
    this.used = idle ? epsilons.map((epsilon) => ({ epsilon, covered: idle.slice() })) : [];
    this.covers = [...this.all, ...this.used].sort((a, b) => b.epsilon - a.epsilon);
    this.best = new Float32Array(count).fill(Number.NEGATIVE_INFINITY);
    this.bestIndex = new Int32Array(count).fill(-1);
  }

  /**
   * Takes in a block of cosines, `width` wide, of the rows from `row` on with the columns from `column`
   * on; those above the diagonal count. Blocks come row by row, so all rows before `i` have covered
   * theirs when `i` is reached.
   */
  scan(cosines: Float32Array, row: number, column: number, width: number): void {
    const { best, bestIndex } = this;
    const rowEnd = row + cosines.length / width;
    const columnEnd = column + width;
    for (let i = row; i < rowEnd; i++) {
      const open = this.covers.filter(({ covered }) => covered[i] === 0);
      const widest = open[0]?.epsilon ?? Number.NEGATIVE_INFINITY;
      const reach = 1 - widest - MARGIN;
      const offset = (i - row) * width - column;
      let bestOfRow = best[i] ?? 0;
      let indexOfRow = bestIndex[i] ?? -1;
      for (let j = Math.max(column, i + 1); j < columnEnd; j++) {
        const cosine = cosines[offset + j] ?? 0;
        if (cosine > bestOfRow) {
          bestOfRow = cosine;
          indexOfRow = j;
        }
        if (cosine > (best[j] ?? 0)) {
          best[j] = cosine;
          bestIndex[j] = i;
        }
        if (cosine > reach) this.cover(open, i, j, cosine);
      }
      best[i] = bestOfRow;
      bestIndex[i] = indexOfRow;
    }
  }

  /** Marks `j` covered in each of the covers `open` that reach it from the representative `i`. */
  private cover(open: readonly Cover[], i: number, j: number, cosine: number): void {
    for (const { epsilon, covered } of open) {
      if (1 - cosine > epsilon + MARGIN) return;
      if (covered[j] === 1) continue;
      const inside = 1 - cosine < epsilon - MARGIN || 1 - dot(this.unit, this.dim, i, j) < epsilon;
      if (inside) covered[j] = 1;
    }
  }

  unique(): Record<string, number> {
    return this.kept(this.all);
  }

  distinctUsed(): Record<string, number> {
    return this.kept(this.used);
  }

  nearest(): Float64Array {
    return Float64Array.from(this.bestIndex, (j, i) =>
      j < 0 ? Number.NaN : Math.max(0, 1 - dot(this.unit, this.dim, i, j)),
    );
  }

  /** The share of K that each cover keeps. */
  private kept(covers: readonly Cover[]): Record<string, number> {
    const share = (covered: Uint8Array) => covered.reduce((left, one) => left - one, this.count) / this.count;
    return Object.fromEntries(covers.map(({ epsilon, covered }) => [String(epsilon), share(covered)]));
  }
}
