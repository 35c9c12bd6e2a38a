import * as tf from "@tensorflow/tfjs-core";
import { lengths } from "../start.ts";
import type { Components } from "./components.ts";
import type { EstimatedVariance } from "./covariance.ts";
import type { Forgetting } from "./forgetting.ts";
import type { Sums } from "./statistics.ts";

/** The smallest divisor. Below it the last mean, variance or direction stays. */
const LEAST_DIVISOR = 1e-12;

/**
 * The sufficient statistics after a batch with the sums w, s = sum_i r_i h_i and q = sum_i r_i h_i^2:
 *
 *     n <- d n + g w,    s <- d s + g sum_i r_i h_i,    q <- d q + g sum_i r_i h_i^2.
 */
export function accumulate(old: Components, { w, s, q }: Sums, forgetting: Forgetting): Components {
  const { forgotten, gain, taken } = forgetting(w);
  const kept = (x: tf.Tensor2D): tf.Tensor2D => tf.sub(x, tf.mul(forgotten, x));
  const update = (x: tf.Tensor2D, sum: tf.Tensor2D): tf.Tensor2D => tf.add(kept(x), tf.mul(gain, sum));
  return {
    ...old,
    counts: tf.add(kept(old.counts), taken),
    sums: update(old.sums, s),
    squares: old.squares && q && update(old.squares, q),
  };
}

/**
 * Means, variances and prototypes from the sufficient statistics, with `strength` = a pseudo-samples
 * of the prior:
 *
 *     mu = (s + a m) / (n + a),    sigma2 = (q + a (m^2 + v_0)) / (n + a) - mu^2,    c = mu / |mu|.
 *
 * If n + a is below 1e-12, the last mean and variance stay; if |mu| is, the last direction does.
 */
export function estimate(
  old: Components,
  strength: number,
  estimated: EstimatedVariance | undefined,
): Components {
  const { starts, means: last } = old;
  const prior = starts && { at: starts, strength };
  const sums = withPrior(old.sums, prior);
  const total: tf.Tensor2D = prior === undefined ? old.counts : tf.add(old.counts, strength);
  const means = last && quotientOr(sums, total, last);
  return {
    ...old,
    means,
    variances: estimated && means && variancesOf(old, means, total, prior, estimated),
    // Sums and means have the same direction.
    prototypes: means
      ? quotientOr(means, lengths(means), old.prototypes)
      : quotientOr(sums, lengths(sums), old.prototypes),
  };
}

/** The means (R x D) of components that do not keep them, which were estimated with a prior of `strength`. */
export function meansOf({ counts, sums, starts, means }: Components, strength: number): tf.Tensor2D {
  if (means !== undefined) return means;
  return tf.tidy(() => {
    const total = starts === undefined ? counts : tf.add(counts, strength);
    return tf.div(withPrior(sums, starts && { at: starts, strength }), total);
  });
}

/** Pseudo-samples at given values (R x D or R x Q), the same number of them for every component. */
interface Prior {
  at: tf.Tensor2D;
  strength: number;
}

function variancesOf(
  { squares, variances }: Components,
  means: tf.Tensor2D,
  total: tf.Tensor2D,
  prior: Prior | undefined,
  { square, covers, initial, floor }: EstimatedVariance,
): tf.Tensor2D {
  if (squares === undefined || variances === undefined) throw new TypeError("the components have no squares");
  const priorSquares = prior && { ...prior, at: tf.add<tf.Tensor2D>(square(prior.at), covers * initial) };
  const scatter = tf.sub(withPrior(squares, priorSquares), tf.mul(total, square(means)));
  return tf.maximum(quotientOr(tf.div(scatter, covers), total, variances), floor);
}

function withPrior(x: tf.Tensor2D, prior: Prior | undefined): tf.Tensor2D {
  return prior === undefined ? x : tf.add(x, tf.mul(prior.at, prior.strength));
}

/** x / divisor (R x 1) in each row whose divisor is large enough, else `last`. */
function quotientOr(x: tf.Tensor2D, divisor: tf.Tensor2D, last: tf.Tensor2D): tf.Tensor2D {
  const usable = tf.greaterEqual(divisor, LEAST_DIVISOR);
  return tf.where(usable, tf.mul(x, tf.reciprocal(tf.maximum(divisor, LEAST_DIVISOR))), last);
}
