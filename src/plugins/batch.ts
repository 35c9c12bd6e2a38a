import * as tf from "@tensorflow/tfjs-core";
import { RunError } from "../errors.ts";

/** The smallest normal float32; backends may treat smaller numbers as 0. */
const LEAST_NORMAL = 2 ** -126;

/** A batch that was refused because of one row. It has changed nothing. */
export class BadRowError extends RunError {
  constructor(
    /** The row's index, from 0. */
    readonly row: number,
    reason: "not finite" | "all zero",
  ) {
    super("bad-batch", `row ${row} of the batch is ${reason}; the batch changed nothing`);
  }
}

/** Divides every row of `h` (N x D) by its length. `largest` (N x 1): each row's largest entry, which reveals bad rows. */
function normalised(h: tf.Tensor2D): { unit: tf.Tensor2D; largest: tf.Tensor2D } {
  return tf.tidy(() => {
    // Divide by the largest entry first: squares of rows near 1e20 or 1e-23 overflow or underflow float32.
    const largest: tf.Tensor2D = tf.max(tf.abs(h), 1, true);
    const scaled = tf.div(h, largest);
    const unit: tf.Tensor2D = tf.div(scaled, tf.sqrt(tf.sum(tf.square(scaled), 1, true)));
    return { unit, largest };
  });
}

/**
 * Divides every row of a batch (N x D) by its length, as a plugin's step needs it. Reads from the device to check the
 * rows. The caller disposes `h` and the result.
 *
 * @throws BadRowError for the first row that is not finite or all zero
 */
export async function unitBatch(h: tf.Tensor2D): Promise<tf.Tensor2D> {
  const { unit, largest } = normalised(h);
  const values = await largest.data<"float32">();
  largest.dispose();
  const row = values.findIndex((value) => !(value >= LEAST_NORMAL && value < Infinity));
  if (row === -1) return unit;
  unit.dispose();
  throw new BadRowError(row, (values[row] ?? Number.NaN) < LEAST_NORMAL ? "all zero" : "not finite");
}

/**
 * The same without reading from the device. `first`: the index of the first bad row, or N. `ok`: whether there is none.
 * If there is a bad row, all rows of `unit` are zero, so that no later arithmetic gives NaN.
 */
export function guardedBatch(h: tf.Tensor2D): { unit: tf.Tensor2D; ok: tf.Scalar; first: tf.Scalar } {
  return tf.tidy(() => {
    const { unit, largest } = normalised(h);
    const bad = tf.reshape<tf.Rank.R1>(
      tf.logicalNot(tf.logicalAnd(tf.greaterEqual(largest, LEAST_NORMAL), tf.less(largest, Infinity))),
      [-1],
    );
    const ok: tf.Scalar = tf.logicalNot(tf.any(bad));
    const at: tf.Scalar = tf.cast(tf.argMax(tf.cast(bad, "int32")), "float32");
    const first: tf.Scalar = tf.where(ok, h.shape[0], at);
    return { unit: tf.where(ok, unit, tf.zerosLike(unit)), ok, first };
  });
}
