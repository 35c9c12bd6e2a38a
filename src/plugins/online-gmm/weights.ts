import * as tf from "@tensorflow/tfjs-core";

const LEAST_WEIGHT = 1e-12;

/**
 * pi <- (1 - rho) pi + rho w / N, at least 1e-12, renormalised (K x 1 all). It cannot come from n:
 * under forgetting by responsibility every n tends to the same memory, independent of the component's share.
 */
export function nextWeights(weights: tf.Tensor2D, w: tf.Tensor2D, batch: number, rate: number): tf.Tensor2D {
  const moved = tf.add(tf.mul(weights, 1 - rate), tf.mul(w, rate / batch));
  const bounded = tf.maximum(moved, LEAST_WEIGHT);
  return tf.div(bounded, tf.sum(bounded));
}
