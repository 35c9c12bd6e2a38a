import * as tf from "@tensorflow/tfjs-core";
import type { Components } from "./components.ts";

/**
 * A covariance, as the E-step sees it: the log density of an embedding under a component is an
 * inner product and a constant of the component, up to a constant of the embedding,
 *
 *     log pi_k + log N(h_i; mu_k, sigma2_k) = features(h)_i . slopes_k + offset_k + const_i,
 *
 * so one product gives it for all pairs, and N x K x D numbers never exist.
 */
export interface Covariance {
  /** N x D embeddings -> N x W. */
  features(h: tf.Tensor2D): tf.Tensor2D;
  /** K x W and, unless they are all alike, K. */
  parameters(components: Components): { slopes: tf.Tensor2D; offsets: tf.Tensor1D | undefined };
  /** Whether the log densities of an embedding may lie hundreds apart, as those of narrow components do. */
  wide: boolean;
  /** How sigma2 follows from q; undefined if it is given. */
  estimated: EstimatedVariance | undefined;
}

export interface EstimatedVariance {
  /** R x D -> R x Q: x^2 in each dimension, or summed over all. */
  square(x: tf.Tensor2D): tf.Tensor2D;
  /** D / Q: how many dimensions a column of q covers. */
  covers: number;
  /** The initial variance. */
  initial: number;
  /** Least variance. */
  floor: number;
}

/** The least floor: in rows of unit length, float32 cannot tell a smaller variance from 0. */
const LEAST_VARIANCE = 1e-10;

/** One given variance, on the sphere: log N = h . c / variance + const. Uniform weights drop out. */
export function shared(variance: number, weighted: boolean): Covariance {
  return {
    features: (h) => tf.div(h, variance),
    parameters: ({ prototypes, weights }) => ({
      slopes: prototypes,
      offsets: weighted ? tf.reshape<tf.Rank.R1>(tf.log(weights), [-1]) : undefined,
    }),
    wide: false,
    estimated: undefined,
  };
}

/** One estimated variance for each component, over all D dimensions. */
export function spherical(dim: number, initial: number, floor: number): Covariance {
  return estimated({ square: (x) => tf.sum(tf.square(x), 1, true), covers: dim, initial, floor });
}

/** An estimated variance for each component and dimension. */
export function diagonal(initial: number, floor: number): Covariance {
  return estimated({ square: (x) => tf.square(x), covers: 1, initial, floor });
}

/**
 * With p = 1 / sigma2 and sums over dimensions,
 *
 *     log pi + log N = h . (p mu) - h^2 . p / 2 + [log pi - (mu^2 . p - sum log p) / 2] + const.
 */
function estimated(options: EstimatedVariance): Covariance {
  const { square, covers } = options;
  const floor = Math.max(options.floor, LEAST_VARIANCE);
  return {
    features: (h) => tf.concat([h, tf.mul(square(h), -0.5)], 1),
    parameters: ({ means, variances, weights }) => {
      if (variances === undefined || means === undefined)
        throw new TypeError("the components have no means or variances");
      const precisions: tf.Tensor2D = tf.reciprocal(variances);
      const distance = tf.sum(tf.mul(square(means), precisions), 1, true);
      const logDeterminant = tf.mul(tf.sum(tf.log(variances), 1, true), covers);
      const offsets = tf.sub(tf.log(weights), tf.mul(tf.add(distance, logDeterminant), 0.5));
      return {
        slopes: tf.concat<tf.Tensor2D>([tf.mul(means, precisions), precisions], 1),
        offsets: tf.reshape<tf.Rank.R1>(offsets, [-1]),
      };
    },
    wide: true,
    estimated: { ...options, floor, initial: Math.max(options.initial, floor) },
  };
}
