import * as tf from "@tensorflow/tfjs-core";

/**
 * The update of one step, per component (K x 1 each), for sums x of past and batch:
 *
 *     x <- x - forgotten x + gain (the batch's sum),    n <- n - forgotten n + taken.
 */
interface Update {
  /** 1 - d. Kept instead of d, whose distance from 1 float32 would round away. */
  forgotten: tf.Tensor2D;
  /** g. */
  gain: tf.Tensor2D;
  /** g w. */
  taken: tf.Tensor2D;
}

/** From w (K x 1), the batch's responsibility for each component, to the update. */
export type Forgetting = (w: tf.Tensor2D) => Update;

/** A smaller w counts as 0: the component keeps n, s and q bit for bit. */
export const LEAST_RESPONSIBILITY = 1e-30;

/**
 * Forgetting by responsibility (Celaya and Agostini): d = lambda^w, g = (1 - d) / ((1 - lambda) w).
 * A component forgets as much as it learns, so that what the batch does not contain is not forgotten.
 */
export function byResponsibility(retention: number): Forgetting {
  if (retention === 1) return byNothing();
  return (w) => {
    const { touched, mass } = countable(w);
    // At lambda = 0 the logarithm is infinite and the limit is d = 0, for every component that is touched.
    const forgotten: tf.Tensor2D =
      retention === 0 ? touched : tf.neg(tf.expm1(tf.mul(mass, Math.log(retention))));
    const taken: tf.Tensor2D = tf.div(forgotten, 1 - retention);
    return { forgotten, gain: tf.div(taken, tf.maximum(mass, LEAST_RESPONSIBILITY)), taken };
  };
}

/** Forgetting by time: d = lambda and g = 1 for every component, touched or not. */
export function byTime(retention: number): Forgetting {
  return (w) => ({ forgotten: tf.fill(w.shape, 1 - retention), gain: tf.onesLike(w), taken: w });
}

/** d = g = 1: plain sums. */
export function byNothing(): Forgetting {
  return (w) => {
    const { touched, mass } = countable(w);
    return { forgotten: tf.zerosLike(w), gain: touched, taken: mass };
  };
}

/** w with small values set to 0, and an indicator of the others. */
function countable(w: tf.Tensor2D): { touched: tf.Tensor2D; mass: tf.Tensor2D } {
  const touched: tf.Tensor2D = tf.cast(tf.greaterEqual(w, LEAST_RESPONSIBILITY), "float32");
  return { touched, mass: tf.mul(w, touched) };
}
