import * as tf from "@tensorflow/tfjs-core";

/**
 * 1 for each component (K) that answers for most of at least one row, else 0, from responsibilities (N x K); of
 * several mixtures, for most of a row in its own. Of components that tie, all do. An argMax would take a GPU longer than the products of a step, and comparing all
 * pairs the wasm backend.
 */
export function winnersOf(responsibilities: tf.Tensor2D, mixtures = 1): tf.Tensor1D {
  return tf.tidy(() => {
    const [n, k] = responsibilities.shape;
    const apart: tf.Tensor =
      mixtures === 1 ? responsibilities : tf.reshape(responsibilities, [n, mixtures, k / mixtures]);
    const short: tf.Tensor = tf.sub(apart, tf.max(apart, -1, true));
    return tf.cast<tf.Tensor1D>(tf.greaterEqual(tf.reshape(tf.max(short, 0), [k]), 0), "float32");
  });
}
