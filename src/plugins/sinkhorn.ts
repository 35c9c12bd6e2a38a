import * as tf from "@tensorflow/tfjs-core";

/** exp of this is far below what float32 adds to 1, and far above where products of scales underflow. */
const LEAST_LOGIT = -50;

/**
 * Sinkhorn-Knopp: targets (N x K, rows that sum to 1) near softmax(logits) that use all K
 * prototypes alike over the batch. As dinov2's sinkhorn_knopp_teacher on logits = x / T:
 * from Q = exp(logits), each iteration scales every prototype's sum to 1 / K, then every row's to 1 / N.
 *
 * Q is kept as v_i P_ik u_k with P fixed, so an iteration is two products with a vector. P has the
 * largest logit of each prototype taken out, which the first scaling of the prototypes undoes.
 */
export function sinkhorn(logits: tf.Tensor2D, iterations = 3): tf.Tensor2D {
  return tf.tidy(() => {
    const [rows, prototypes] = logits.shape;
    const relative = tf.sub(logits, tf.max(logits, 0, true));
    const p: tf.Tensor2D = tf.exp(tf.maximum(relative, LEAST_LOGIT));
    let v: tf.Tensor2D = tf.ones([1, rows]);
    let u: tf.Tensor2D = tf.ones([prototypes, 1]);
    for (let iteration = 0; iteration < iterations; iteration++) {
      u = tf.reshape(tf.div(1 / prototypes, tf.matMul(v, p)), [prototypes, 1]);
      v = tf.reshape(tf.div(1 / rows, tf.matMul(p, u)), [1, rows]);
    }
    const scaled = tf.mul(p, tf.reshape(u, [1, prototypes]));
    return tf.mul(scaled, tf.mul(tf.reshape(v, [rows, 1]), rows));
  });
}
