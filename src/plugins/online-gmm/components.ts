import * as tf from "@tensorflow/tfjs-core";

/**
 * The mixture's components, or some of them: a row each. R is the number of rows, Q the number of
 * squares that the covariance keeps: none (shared), 1 (spherical) or D (diagonal). Nothing is
 * written in place: a step makes new tensors.
 */
export type Components = {
  /** n (R x 1), the effective count. */
  counts: tf.Tensor2D;
  /** s (R x D), the effective sum of embeddings. */
  sums: tf.Tensor2D;
  /** q (R x Q), the effective sum of squares. */
  squares: tf.Tensor2D | undefined;
  /** m (R x D), where the prior pulls each; undefined where there is no prior. */
  starts: tf.Tensor2D | undefined;
  /** mu (R x D); undefined where nothing needs it at every step, since it follows from the others (see `meansOf`). */
  means: tf.Tensor2D | undefined;
  /** sigma2 (R x Q). */
  variances: tf.Tensor2D | undefined;
  /** c = mu / |mu| (R x D), the prototypes. */
  prototypes: tf.Tensor2D;
  /** pi (R x 1); 1 / K each where weights are uniform. */
  weights: tf.Tensor2D;
  /** Steps since each last won a row (R x 1), at most NEVER; undefined where none starts again. */
  ages: tf.Tensor2D | undefined;
};

/** The age of a component that has not won a row yet. */
export const NEVER = 2 ** 20;

/** The rows with the given indices. */
export function gatherRows(all: Components, indices: tf.Tensor1D): Components {
  return {
    counts: tf.gather(all.counts, indices),
    sums: tf.gather(all.sums, indices),
    squares: all.squares && tf.gather(all.squares, indices),
    starts: all.starts && tf.gather(all.starts, indices),
    means: all.means && tf.gather(all.means, indices),
    variances: all.variances && tf.gather(all.variances, indices),
    prototypes: tf.gather(all.prototypes, indices),
    weights: tf.gather(all.weights, indices),
    ages: all.ages && tf.gather(all.ages, indices),
  };
}

/** `all` with what a step made of the rows at the given indices, but for starts. Every other row keeps its bits. */
export function scatterRows(all: Components, indices: tf.Tensor1D, rows: Components): Components {
  const places = tf.reshape(indices, [-1, 1]);
  const put = (into: tf.Tensor2D, updates: tf.Tensor2D): tf.Tensor2D =>
    tf.tensorScatterUpdate(into, places, updates);
  return {
    counts: put(all.counts, rows.counts),
    sums: put(all.sums, rows.sums),
    squares: all.squares && rows.squares && put(all.squares, rows.squares),
    starts: all.starts,
    means: all.means && rows.means && put(all.means, rows.means),
    variances: all.variances && rows.variances && put(all.variances, rows.variances),
    prototypes: put(all.prototypes, rows.prototypes),
    weights: put(all.weights, rows.weights),
    ages: all.ages && rows.ages && put(all.ages, rows.ages),
  };
}

/** The tensors that are there, by name. */
export function present(components: Components): Record<string, tf.Tensor2D> {
  const tensors: [string, tf.Tensor2D | undefined][] = Object.entries(components);
  return Object.fromEntries(
    tensors.flatMap(([name, tensor]) => (tensor === undefined ? [] : [[name, tensor]])),
  );
}

/** Frees the tensors of `old` that none of `others` holds. */
export function disposeAllBut(old: Components, ...others: Components[]): void {
  const kept = new Set(others.flatMap((each) => Object.values(present(each))));
  for (const tensor of Object.values(present(old))) if (!kept.has(tensor)) tensor.dispose();
}
