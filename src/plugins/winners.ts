import * as tf from "@tensorflow/tfjs-core";

/** The float32 just below 1. */
export const BELOW_ONE = 1 - 2 ** -23;

/**
 * 1 for each component (K) that answers for most of at least one row, else 0, from responsibilities (N x K). Of
 * components that tie, all do. Two passes and no index: an argMax takes a GPU longer than the products of a step.
 */
export function winnersOf(responsibilities: tf.Tensor2D): tf.Tensor1D {
  return tf.tidy(() => {
    const largest = tf.max(responsibilities, 1, true);
    // A comparison of all pairs would take the wasm backend a hundred times as long.
    return tf.max<tf.Tensor1D>(tf.step(tf.sub(responsibilities, tf.mul(largest, BELOW_ONE))), 0);
  });
}
