import * as tf from "@tensorflow/tfjs-core";

/**
 * The components that win a row: from responsibilities (N x K), K numbers, 1 for each component with the largest
 * responsibility for at least one row (within its own mixture, if there are several), else 0. Components that tie all
 * win. An argMax would take longer on a GPU than the products of a step; comparing all pairs would on wasm.
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
