import * as tf from "@tensorflow/tfjs-core";

export const [N, K, D] = [8, 96, 16];

/** A mixture's state, K rows each. */
export type State = Record<
  "counts" | "sums" | "squares" | "means" | "variances" | "prototypes" | "weights",
  tf.Tensor2D
>;

export function start(): State {
  const rows = (columns: number): tf.Tensor2D => tf.randomUniform([K, columns], 0.1, 1);
  return {
    counts: rows(1),
    sums: rows(D),
    squares: rows(D),
    means: rows(D),
    variances: rows(D),
    prototypes: rows(D),
    weights: rows(1),
  };
}

/** An EM step of the size that mixtures have: about 70 operations, with numbers that change at every step. */
export function step(h: tf.Tensor2D, old: State, beta: number): { next: State; metrics: tf.Tensor1D } {
  return tf.tidy(() => {
    const features: tf.Tensor2D = tf.mul(
      tf.concat([h, tf.mul(tf.square(h), -0.5), tf.ones([N, 1])], 1),
      beta,
    );
    const precisions: tf.Tensor2D = tf.reciprocal(old.variances);
    const distance = tf.sum(tf.mul(tf.square(old.means), precisions), 1, true);
    const determinant = tf.sum(tf.log(old.variances), 1, true);
    const constant: tf.Tensor2D = tf.sub(tf.log(old.weights), tf.mul(tf.add(distance, determinant), 0.5));
    const linear: tf.Tensor2D = tf.mul(old.means, precisions);
    const logits: tf.Tensor2D = tf.matMul(
      features,
      tf.transpose(tf.concat([linear, precisions, constant], 1)),
    );
    const r: tf.Tensor2D = tf.softmax(logits);
    const normaliser = tf.sub(tf.max(logits, 1), tf.log(tf.max(r, 1)));
    const entropy = tf.mean(tf.sub(normaliser, tf.sum(tf.mul(r, logits), 1)));
    const w: tf.Tensor2D = tf.reshape(tf.sum(r, 0), [K, 1]);
    const touched = tf.cast(tf.greaterEqual(w, 1e-30), "float32");
    const mass = tf.mul(w, touched);
    const forgotten = tf.neg(tf.expm1(tf.mul(mass, Math.log(0.99))));
    const taken = tf.div(forgotten, 0.01);
    const gain = tf.div(taken, tf.maximum(mass, 1e-30));
    const turned: tf.Tensor2D = tf.transpose(r);
    const moved = (x: tf.Tensor2D, by: tf.Tensor): tf.Tensor2D => tf.add(tf.sub(x, tf.mul(forgotten, x)), by);
    const counts = moved(old.counts, taken);
    const sums = moved(old.sums, tf.mul(gain, tf.matMul(turned, h)));
    const squares = moved(old.squares, tf.mul(gain, tf.matMul<tf.Tensor2D>(turned, tf.square(h))));
    const some = tf.maximum(counts, 1e-12);
    const means: tf.Tensor2D = tf.where(tf.greater(counts, 1e-12), tf.div(sums, some), old.means);
    const variances: tf.Tensor2D = tf.maximum(tf.sub(tf.div(squares, some), tf.square(means)), 1e-4);
    const lengths = tf.maximum(tf.sqrt(tf.sum(tf.square(means), 1, true)), 1e-12);
    const prototypes: tf.Tensor2D = tf.div(means, lengths);
    const weights: tf.Tensor2D = tf.add(tf.mul(old.weights, 0.99), tf.mul(tf.div(w, N), 0.01));
    const next = { counts, sums, squares, means, variances, prototypes, weights };
    return { next, metrics: tf.reshape(tf.stack([entropy, tf.scalar(beta)]), [-1]) };
  });
}
