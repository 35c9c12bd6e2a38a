import { setImmediate as yieldToEvents } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../errors.ts";
import type { Vectors } from "../files/rows.ts";
import { perplexityOf } from "./rank.ts";
import type { MeasureOptions } from "./uniqueness.ts";

export interface Usage {
  /** Share of components, in [0, 1], that win at least one embedding. */
  used: number;
  /** exp of the entropy of the wins, in [1, K]; 0 if there are none. */
  perplexity: number;
}

/** Usage from the number of embeddings that each of K components wins. */
export function usage(wins: ArrayLike<number>): Usage {
  let used = 0;
  for (let k = 0; k < wins.length; k++) if ((wins[k] ?? 0) > 0) used++;
  return { used: wins.length === 0 ? 0 : used / wins.length, perplexity: perplexityOf(wins) };
}

/** Cosines in a block: 16 MB of float32. */
const BLOCK_COSINES = 1 << 22;

/**
 * Counts how many of the N embeddings each of the K prototypes wins, that is, for how many it has the
 * largest h . c; of equal ones the first wins. Both have rows of unit length. Computed in float32 on the
 * active tfjs backend. The event loop gets a turn after each block.
 *
 * @throws UserError if D differs
 */
export async function wins(
  embeddings: Vectors,
  prototypes: Vectors,
  { source = "embeddings", onProgress }: MeasureOptions = {},
): Promise<Int32Array> {
  const { rows: N, dim: D } = embeddings;
  if (D !== prototypes.dim) {
    throw new UserError(`${source} has rows of ${D} numbers, but the prototypes have ${prototypes.dim}`);
  }
  const counts = new Int32Array(prototypes.rows);
  const columns = tf.tidy(() => tf.transpose(tf.tensor2d(prototypes.data, [prototypes.rows, D])));
  const block = Math.max(1, Math.floor(BLOCK_COSINES / prototypes.rows));
  try {
    for (let row = 0; row < N; row += block) {
      const end = Math.min(N, row + block);
      const part = embeddings.data.subarray(row * D, end * D);
      const winner = tf.tidy(() => tf.argMax(tf.matMul(tf.tensor2d(part, [end - row, D]), columns), 1));
      for (const k of await winner.data<"int32">()) counts[k] = (counts[k] ?? 0) + 1;
      winner.dispose();
      onProgress?.(end / N);
      await yieldToEvents();
    }
  } finally {
    columns.dispose();
  }
  return counts;
}
