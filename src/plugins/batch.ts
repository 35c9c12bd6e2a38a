import * as tf from "@tensorflow/tfjs-core";
import { RunError } from "../errors.ts";

/** The least float32 of full precision; backends may take smaller numbers for 0. */
const LEAST_NORMAL = 2 ** -126;

/** A batch that cannot be used because of one row. It has changed nothing. */
export class BadRowError extends RunError {
  constructor(
    /** Counted from 0. */
    readonly row: number,
    reason: "not finite" | "all zero",
  ) {
    super("bad-batch", `row ${row} of the batch is ${reason}; the batch changed nothing`);
  }
}

/** Every row of `h` (N x D) divided by its length, whatever that is, and its largest entry (N x 1), which tells bad rows. */
function normalised(h: tf.Tensor2D): { unit: tf.Tensor2D; largest: tf.Tensor2D } {
  return tf.tidy(() => {
    // Dividing by the largest entry first: squares of rows near 1e20 or 1e-23 leave float32.
    const largest: tf.Tensor2D = tf.max(tf.abs(h), 1, true);
    const scaled = tf.div(h, largest);
    const unit: tf.Tensor2D = tf.div(scaled, tf.sqrt(tf.sum(tf.square(scaled), 1, true)));
    return { unit, largest };
  });
}

/**
 * A batch (N x D) as a plugin's step wants it: every row divided by its length. `h` stays the caller's, and
 * so does the result. The rows are read.
 *
 * @throws BadRowError for the first row that is not finite or all zero.
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
 * The same where the batch is, without reading: `first` is the index of the first bad row, or N, and `ok` whether
 * there is none. Where there is one, `unit` holds rows of zeros in place of all, which no arithmetic stumbles over.
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
