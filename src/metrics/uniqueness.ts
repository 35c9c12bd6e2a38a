import { setImmediate as yieldToEvents } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import type { Vectors } from "../files/rows.ts";
import { dot, unitFloat64 } from "./unit.ts";

/** The cosine distances at which uniqueness is reported. */
export const EPSILONS: readonly number[] = [0.025, 0.1, 0.25, 0.5];

export interface MeasureOptions {
  /** The name of the rows in error messages: a file, or "prototypes". */
  source?: string;
  /** Called with the share that is done, rising to 1. */
  onProgress?: (done: number) => void;
}

export interface GeometryOptions extends MeasureOptions {
  /** Cosine distances above 0; by default `EPSILONS`. */
  epsilons?: readonly number[];
}

export interface Geometry {
  /** By epsilon ("0.025"): the share of prototypes, in (0, 1], that a greedy cover keeps. */
  unique: Record<string, number>;
  /** Length K: cosine distance, in [0, 2], of each prototype to its nearest neighbour; NaN if K is 1. */
  nearest: Float64Array;
}

export interface GeometryInUse extends Geometry {
  /** By epsilon: the share of K, in [0, 1], that a greedy cover of the used prototypes alone keeps. */
  distinctUsed: Record<string, number>;
}

/** Bound of the error of float32 products. Pairs closer to an epsilon than this are decided in float64. */
const MARGIN = 1e-5;
/** Rows and columns of one product: 4 MB of float32. */
const BLOCK = 1024;

/**
 * Measures the collapse of K prototypes: uniqueness at every epsilon, and the distance of each
 * prototype to its nearest neighbour, in one pass over the pairs.
 *
 * Uniqueness is that of the paper. Go through the L2-normalised rows in index order. The first
 * uncovered row becomes a representative and covers every uncovered row with 1 - cos < epsilon.
 * Uniqueness is the number of representatives over K. A row is a representative exactly if no earlier
 * representative covers it. So blocks of the upper triangle in row order suffice, and no K x K matrix
 * is held.
 *
 * The active tfjs backend computes the products in float32. Every decision and distance that float32
 * could get wrong is computed again in float64. The event loop gets a turn after each block (~20 ms).
 * @throws UserError if a row is not finite or all zero
 */
export async function geometry(prototypes: Vectors, options: GeometryOptions = {}): Promise<Geometry> {
  const pairs = await walk(prototypes, null, options);
  return { unique: pairs.unique(), nearest: pairs.nearest() };
}

/**
 * `geometry`, and in the same pass `distinctUsed`: the greedy cover of the used prototypes alone, as a
 * share of K. Unused prototypes neither count nor cover.
 *
 * @param wins K numbers, above 0 if the prototype is used
 */
export async function geometryInUse(
  prototypes: Vectors,
  wins: ArrayLike<number>,
  options: GeometryOptions = {},
): Promise<GeometryInUse> {
  const pairs = await walk(prototypes, wins, options);
  return { unique: pairs.unique(), nearest: pairs.nearest(), distinctUsed: pairs.distinctUsed() };
}

/** Uniqueness as `geometry` defines it: `{"0.025": share, ...}`. */
export async function uniqueness(
  prototypes: Vectors,
  epsilons: readonly number[] = EPSILONS,
  options: MeasureOptions = {},
): Promise<Record<string, number>> {
  return (await geometry(prototypes, { ...options, epsilons })).unique;
}

async function walk(
  prototypes: Vectors,
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
  // Blocks are separate tensors, transposed once: on wasm a slice copies its whole source tensor, and a
  // product with a transpose flag is ten times slower.
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
  /** 1 if an earlier representative covers the row, or if the row does not take part. */
  covered: Uint8Array;
}

/** The results of the pass over the pairs i < j so far. */
class Pairs {
  /** Covers of all rows and of the used rows, in the order of the given epsilons. */
  private readonly all: Cover[];
  private readonly used: Cover[];
  /** All of these covers, largest epsilon first, so that the first one that a pair misses ends the search. */
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
   * Processes a block of cosines, `width` wide, of the rows from `row` on with the columns from
   * `column` on. Only those above the diagonal count. Blocks have to come row by row, so that all rows
   * before `i` have covered others when `i` is reached.
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

  /** Marks `j` as covered by the representative `i` in each cover of `open` whose epsilon it is within. */
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
