import * as tf from "@tensorflow/tfjs-core";
import type { Components } from "./components.ts";
import type { Covariance } from "./covariance.ts";

export type EStep = {
  /** r (N x K), rows that sum to 1 in each mixture. */
  responsibilities: tf.Tensor2D;
  /** -sum_k r_ik log r_ik (N), in nats, the mean of the mixtures; not finite if a row is not. */
  entropies: tf.Tensor1D;
  /** log sum_k exp(logit_ik) (N), the sum of the mixtures: at beta = 1 the row's log likelihood up to a constant of the row and of the covariance. */
  evidence: tf.Tensor1D;
};

/**
 * Computes responsibilities: from the components at beta it makes a function of rows (N x D). Terms that do not depend on
 * the rows are computed once for all blocks.
 */
export type Assign = (components: Components, beta: number) => (h: tf.Tensor2D) => EStep;

/**
 * The annealed E-step,
 *
 *     log r_ik = beta [log pi_k + log N(h_i; mu_k, sigma2_k)] - logsumexp over k.
 *
 * Responsibilities below `cutoff` are 0 and the rows are renormalised; a row's largest always stays. With
 * several mixtures, each normalises over its own components.
 */
export function soft(covariance: Covariance, cutoff: number, mixtures = 1): Assign {
  return (components, beta) => {
    const logitsOf = annealedLogits(covariance, components, beta);
    return (h) => {
      const logits = apart(logitsOf(h), mixtures);
      const soft: tf.Tensor2D = tf.softmax(logits);
      const all = covariance.wide ? significant(soft) : soft;
      const responsibilities = cutoff > 0 ? cut(all, cutoff) : all;
      const evidence = evidenceOf(responsibilities, logits);
      const entropies = entropiesOf(responsibilities, logits, evidence);
      return together({ responsibilities, entropies, evidence }, mixtures);
    };
  };
}

/** A row for each mixture: N x K to N M x K / M. */
function apart(logits: tf.Tensor2D, mixtures: number): tf.Tensor2D {
  const [n, k] = logits.shape;
  return mixtures === 1 ? logits : tf.reshape(logits, [n * mixtures, k / mixtures]);
}

/** What `apart` took apart. */
function together(eStep: EStep, mixtures: number): EStep {
  if (mixtures === 1) return eStep;
  const [rows, columns] = eStep.responsibilities.shape;
  return {
    responsibilities: tf.reshape(eStep.responsibilities, [rows / mixtures, columns * mixtures]),
    entropies: tf.mean(tf.reshape(eStep.entropies, [-1, mixtures]), 1),
    evidence: tf.sum(tf.reshape(eStep.evidence, [-1, mixtures]), 1),
  };
}

/** As little as a component's share in a whole batch that counts as 0. */
const NOTHING = 1e-29;

/**
 * Sets tiny responsibilities, of which narrow components have many, to 0: a CPU is ten times as slow with denormal
 * numbers. The others keep their bits.
 */
function significant(responsibilities: tf.Tensor2D): tf.Tensor2D {
  return tf.relu(tf.sub(responsibilities, NOTHING));
}

/** The limit beta -> infinity: all of a row to its largest logit, the first one of equals. */
export function hard(covariance: Covariance, mixtures = 1): Assign {
  return (components) => {
    const logitsOf = annealedLogits(covariance, components, 1);
    return (h) => {
      const logits = apart(logitsOf(h), mixtures);
      // As integers first: the wasm backend's oneHot always writes integers.
      const winners = tf.oneHot(tf.argMax(logits, 1), logits.shape[1]);
      const responsibilities = tf.reshape<tf.Rank.R2>(tf.cast(winners, "float32"), logits.shape);
      const entropies = tf.mul<tf.Tensor1D>(tf.sum(logits, 1), 0);
      return together({ responsibilities, entropies, evidence: tf.max(logits, 1) }, mixtures);
    };
  };
}

function annealedLogits(
  covariance: Covariance,
  components: Components,
  beta: number,
): (h: tf.Tensor2D) => tf.Tensor2D {
  const { slopes, offsets } = covariance.parameters(components);
  const temperature = tf.scalar(beta);
  // The wasm backend's own transposition within matMul is ten times slower.
  const b = tf.transpose(slopes);
  const bias: tf.Tensor1D | undefined = offsets && tf.mul(offsets, temperature);
  return (h) => {
    const a: tf.Tensor2D = tf.mul(covariance.features(h), temperature);
    return bias === undefined
      ? tf.matMul(a, b)
      : tf.reshape<tf.Rank.R2>(tf.fused.matMul({ a, b, bias }), [a.shape[0], b.shape[1]]);
  };
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
 * z_i = logit - log r wherever r > 0, read off the row's largest entry: a logarithm for each row instead of one for
 * each pair.
 */
function evidenceOf(responsibilities: tf.Tensor2D, logits: tf.Tensor2D): tf.Tensor1D {
  return tf.sub(tf.max(logits, 1), tf.log(tf.max(responsibilities, 1)));
}

function entropiesOf(responsibilities: tf.Tensor2D, logits: tf.Tensor2D, evidence: tf.Tensor1D): tf.Tensor1D {
  const expected = tf.sum(tf.mul(responsibilities, logits), 1);
  const nats: tf.Tensor1D = tf.sub(evidence, expected);
  // Rounding may lead just below 0. NaN stays NaN.
  return tf.where(tf.less(nats, 0), 0, nats);
}
