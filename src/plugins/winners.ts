import * as tf from "@tensorflow/tfjs-core";

/**
 * 1 for each component (K) that answers for most of at least one row, else 0, from responsibilities (N x K). Of
 * components that tie, all do. An argMax would take a GPU longer than the products of a step, and comparing all
 * pairs the wasm backend.
 */
export function winnersOf(responsibilities: tf.Tensor2D): tf.Tensor1D {
  return tf.tidy(() => {
    const short = tf.sub(responsibilities, tf.max(responsibilities, 1, true));
    return tf.cast<tf.Tensor1D>(tf.greaterEqual(tf.max(short, 0), 0), "float32");
  });
}
