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

/** The mean entropy of a batch's responsibilities. RunError where it is not finite: some row was not, then. */
export async function finiteEntropy(entropy: tf.Scalar): Promise<number> {
  const [nats = Number.NaN] = await entropy.data();
  // Rounding may lead just below 0.
  if (Number.isFinite(nats)) return Math.max(0, nats);
  throw new RunError("bad-batch", "the batch has rows that are not finite; it changed nothing");
}

/**
 * A batch (N x D) as a plugin's step wants it: every row divided by its length, whatever that is.
 * `h` stays the caller's, and so does the result.
 *
 * @throws BadRowError for the first row that is not finite or all zero.
 */
export async function unitBatch(h: tf.Tensor2D): Promise<tf.Tensor2D> {
  const { unit, largest } = tf.tidy(() => {
    // Dividing by the largest entry first: squares of rows near 1e20 or 1e-23 leave float32.
    const largest: tf.Tensor2D = tf.max(tf.abs(h), 1, true);
    const scaled = tf.div(h, largest);
    const unit: tf.Tensor2D = tf.div(scaled, tf.sqrt(tf.sum(tf.square(scaled), 1, true)));
    return { unit, largest };
  });
  const values = await largest.data<"float32">();
  largest.dispose();
  const row = values.findIndex((value) => !(value >= LEAST_NORMAL && value < Infinity));
  if (row === -1) return unit;
  unit.dispose();
  throw new BadRowError(row, (values[row] ?? Number.NaN) < LEAST_NORMAL ? "all zero" : "not finite");
}
