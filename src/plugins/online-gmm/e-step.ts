import * as tf from "@tensorflow/tfjs-core";
import type { Components } from "./components.ts";
import type { Covariance } from "./covariance.ts";

export type EStep = {
  /** r (N x K), rows that sum to 1. */
  responsibilities: tf.Tensor2D;
  /** -sum_k r_ik log r_ik, mean over the batch, in nats; not finite where the batch is not. */
  entropy: tf.Scalar;
};

/** How the batch `h` (N x D) is shared out among the components. */
export type Assign = (h: tf.Tensor2D, components: Components, beta: number) => EStep;

/**
 * The annealed E-step,
 *
 *     log r_ik = beta [log pi_k + log N(h_i; mu_k, sigma2_k)] - logsumexp over k.
 *
 * Responsibilities below `cutoff` are 0 and the rows are renormalised; a row's largest always stays.
 */
export function soft(covariance: Covariance, cutoff: number): Assign {
  return (h, components, beta) => {
    const logits = annealedLogits(covariance, h, components, beta);
    const all: tf.Tensor2D = tf.softmax(logits);
    const responsibilities = cutoff > 0 ? cut(all, cutoff) : all;
    return { responsibilities, entropy: entropyOf(responsibilities, logits) };
  };
}

/** The limit beta -> infinity: all of a row to its largest logit, the first one of equals. */
export function hard(covariance: Covariance): Assign {
  return (h, components) => {
    const logits = annealedLogits(covariance, h, components, 1);
    // As integers first: the wasm backend's oneHot writes integers, whatever type is asked of it.
    const winners = tf.oneHot(tf.argMax(logits, 1), components.counts.shape[0]);
    const responsibilities = tf.reshape<tf.Rank.R2>(tf.cast(winners, "float32"), logits.shape);
    return { responsibilities, entropy: tf.mul(tf.sum(logits), 0) };
  };
}

function annealedLogits(
  covariance: Covariance,
  h: tf.Tensor2D,
  components: Components,
  beta: number,
): tf.Tensor2D {
  const features = tf.mul(covariance.features(h), beta);
  // The wasm backend's own transposition within matMul is ten times slower.
  return tf.matMul(features, tf.transpose(covariance.parameters(components)));
}

/** The float32 just below 1. */
const BELOW_ONE = 1 - 2 ** -23;

function cut(responsibilities: tf.Tensor2D, cutoff: number): tf.Tensor2D {
  const threshold = tf.mul(tf.minimum(tf.max(responsibilities, 1, true), cutoff), BELOW_ONE);
  // A comparison of all pairs would take the wasm backend a hundred times as long.
  const above = tf.step(tf.sub(responsibilities, threshold));
  const kept = tf.mul(responsibilities, above);
  return tf.div(kept, tf.sum(kept, 1, true));
}

/**
 * log r = logit - z_i wherever r > 0, and z_i can be read off the row's largest entry: a logarithm
 * for each row instead of one for each pair.
 */
function entropyOf(responsibilities: tf.Tensor2D, logits: tf.Tensor2D): tf.Scalar {
  const normaliser = tf.sub(tf.max(logits, 1), tf.log(tf.max(responsibilities, 1)));
  const expected = tf.sum(tf.mul(responsibilities, logits), 1);
  return tf.mean(tf.sub(normaliser, expected));
}
