import * as tf from "@tensorflow/tfjs-core";
import { selected } from "../selected.ts";
import { type Components, gatherRows, NEVER, scatterRows } from "./components.ts";
import type { EstimatedVariance } from "./covariance.ts";
import { statisticsAt } from "./init.ts";
import { estimate } from "./m-step.ts";

/** How components come into use: idle ones start again at rows of the batch, as the schedule of live ones allows. */
export interface Use {
  /** A component is idle after this many steps without a row; undefined: see `idleAfter`. */
  idle: number | undefined;
  /** Pseudo-samples at the row that a component starts again with. */
  count: number;
  /** Which rows: those that the mixture explains worst, or any. */
  rows: "unexplained" | "any";
}

/** A batch of N rows, as its E-step left it. */
export interface Seen {
  /** N x D. */
  h: tf.Tensor2D;
  /** K: 1 for each component that won a row, else 0. */
  winners: tf.Tensor1D;
  /** N: how well the mixture explains each row. */
  evidence: tf.Tensor1D;
}

/** A component with an even share of the data wins this many rows, on average, before it would count as idle. */
const ROWS = 25;
/** No component is idle after fewer steps, so that few components, which win rows at every step, are left alone. */
const LEAST = 100;

/** Steps without a row after which one of K components is idle, with batches of N rows. */
function idleAfter(components: number, rows: number): number {
  return Math.max(LEAST, Math.ceil((ROWS * components) / rows));
}

/** Of all components, at most this share starts again in a step, so that a batch's rows are not all taken. */
const MOST = 1 / 256;

/** The default schedule has all components live when this many rows have been seen for each. */
const PACE = 100;

/** The share of K components that should be live after `steps` steps of N rows: 1 after 100 K / N steps, or after 256. */
export function shareAfter(steps: number, rows: number, components: number): number {
  return Math.min(1, steps / Math.max((PACE * components) / rows, 1 / MOST));
}

/**
 * Ages, and the components after idle ones have started again. With t_k the steps since component k won a row, it is
 * live if t_k < T. While fewer than `share` K are live, the one with the largest t_k, if it is idle, starts again
 * at the row i that the mixture explains worst, the least log sum_k pi_k N(h_i; mu_k, sigma2_k):
 *
 *     t_k = 0,    n_k = c,    s_k = c h_i,    q_k = c (h_i^2 + v_0),    pi_k = 1 / K.
 *
 * m_k stays: the prior pulls the component toward its start, which keeps it apart from others nearby. Of R components
 * in a step the r-th takes the worst of the rows r, r + R, r + 2 R, ... In a batch of views one after the other, with
 * a multiple of R images in each, no image gets two components.
 */
export function startAgain(
  next: Components,
  { h, winners, evidence }: Seen,
  { share, strength, mixtures, ...use }: Use & { share: number; strength: number; mixtures: number },
  estimated: EstimatedVariance | undefined,
): { components: Components; live: tf.Scalar; started: tf.Scalar } {
  const [n] = h.shape;
  const components = next.counts.shape[0];
  if (next.ages === undefined) throw new TypeError("the components have no ages");
  const older = tf.minimum(tf.add(next.ages, 1), NEVER);
  const ages: tf.Tensor2D = tf.mul(older, tf.reshape(tf.sub(1, winners), [-1, 1]));
  const idle = Math.min(use.idle ?? idleAfter(components, n), NEVER);
  const live = tf.sum<tf.Scalar>(tf.cast(tf.less(ages, idle), "float32"));

  const most = Math.min(n, Math.ceil(components * MOST));
  const { values, indices } = tf.topk(tf.reshape<tf.Rank.R1>(ages, [-1]), most);
  const places: tf.Tensor1D = tf.reshape(indices, [-1]);
  const open = tf.sub(Math.floor(share * components + 1e-6), live);
  const starts = tf.logicalAnd(
    tf.greaterEqual(values, idle),
    tf.less(tf.range(0, most), tf.reshape(open, [1])),
  );
  const at = tf.gather<tf.Tensor2D>(h, rowsOf(evidence, most, use.rows));
  const old = gatherRows({ ...next, ages }, places);
  const fresh = estimate(
    {
      ...old,
      ...statisticsAt(at, use.count, estimated),
      means: old.means && at,
      prototypes: at,
      weights: tf.fill([most, 1], 1 / components),
      ages: tf.zeros([most, 1]),
    },
    strength,
    estimated,
  );
  const rows = selected(tf.reshape(starts, [-1, 1]), fresh, old);
  const all = scatterRows({ ...next, ages }, places, rows);
  return {
    components: { ...all, weights: normalised(all.weights, mixtures) },
    live: tf.div(live, components),
    started: tf.sum<tf.Scalar>(tf.cast(starts, "float32")),
  };
}

/** A row of each of `parts` parts of the batch (N): the one with the least evidence, or the first. */
function rowsOf(evidence: tf.Tensor1D, parts: number, rows: Use["rows"]): tf.Tensor1D {
  const size = Math.floor(evidence.shape[0] / parts);
  const first: tf.Tensor1D = tf.range(0, parts, 1, "int32");
  if (rows === "any") return first;
  const worst = tf.argMin(tf.reshape(tf.slice1d(evidence, 0, parts * size), [size, parts]), 0);
  return tf.add(first, tf.mul(worst, tf.scalar(parts, "int32")));
}

/** Weights (K x 1) that sum to 1 / M in each of M mixtures. */
function normalised(weights: tf.Tensor2D, mixtures: number): tf.Tensor2D {
  const apart = tf.reshape(weights, [mixtures, -1]);
  return tf.reshape(tf.div(apart, tf.mul(tf.sum(apart, 1, true), mixtures)), [-1, 1]);
}
