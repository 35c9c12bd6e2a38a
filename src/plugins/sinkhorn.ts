import * as tf from "@tensorflow/tfjs-core";

/** A row whose logit is this far below the prototype's largest adds nothing in float32. */
const LEAST_LOGIT = -50;

/**
 * Sinkhorn-Knopp: targets (N x K, rows that sum to 1) near softmax(logits) that use all K prototypes
 * equally over the batch. Equal to dinov2's sinkhorn_knopp_teacher with logits = x / T: starting from
 * Q = exp(logits), each iteration scales every prototype's sum to 1 / K, then every row's to 1 / N.
 *
 * Q is represented as v_i P_ik u_k with P fixed. So an iteration is two matrix-vector products, and the
 * last scaling of the rows is a softmax: the targets are softmax(logits + log u). The largest logit of
 * each prototype is subtracted in P; the first scaling of the prototypes undoes this.
 */
export function sinkhorn(logits: tf.Tensor2D, iterations = 3): tf.Tensor2D {
  return tf.tidy(() => {
    const [rows, prototypes] = logits.shape;
    const largest: tf.Tensor2D = tf.max(logits, 0, true);
    const p: tf.Tensor2D = tf.exp(tf.clipByValue(tf.sub(logits, largest), LEAST_LOGIT, 0));
    const scaleOf = (sums: tf.Tensor2D, share: number): tf.Tensor2D => tf.div(share, sums);
    let u = scaleOf(tf.sum(p, 0, true), 1 / prototypes);
    for (let iteration = 1; iteration < iterations; iteration++) {
      const v = scaleOf(tf.matMul(p, tf.reshape(u, [prototypes, 1])), 1 / rows);
      u = scaleOf(tf.matMul(tf.reshape(v, [1, rows]), p), 1 / prototypes);
    }
    return tf.softmax(tf.add(logits, tf.sub(tf.log(u), largest)));
  });
}
