import * as tf from "@tensorflow/tfjs-core";
import seedrandom from "seedrandom";

/**
 * Uniform numbers in [0, 1) that depend only on the seed and the purpose. They are the same on every
 * backend and machine, and have no state to save with a run.
 */
export function generator(seed: number, purpose: string): () => number {
  return seedrandom.alea(`${seed}/${purpose}`);
}

/** `rows` directions, uniform on the unit sphere of R^dim: normalised Gaussian vectors. */
export function directions(rows: number, dim: number, seed: number, purpose: string): tf.Tensor2D {
  const uniform = generator(seed, purpose);
  const data = new Float32Array(rows * dim);
  for (let row = 0; row < rows; row++) {
    const vector = data.subarray(row * dim, (row + 1) * dim);
    let squared = 0;
    while (squared === 0) {
      for (let at = 0; at < dim; at++) vector[at] = normal(uniform);
      squared = vector.reduce((sum, value) => sum + value * value, 0);
    }
    const length = Math.sqrt(squared);
    for (let at = 0; at < dim; at++) vector[at] = (vector[at] ?? 0) / length;
  }
  return tf.tensor2d(data, [rows, dim]);
}

/** `count` different numbers below `size`, ascending. */
export function sample(count: number, size: number, uniform: () => number): number[] {
  const chosen: number[] = [];
  for (let candidate = 0; candidate < size && chosen.length < count; candidate++) {
    // Selection sampling (Knuth's algorithm S): all subsets are equally likely.
    if (uniform() * (size - candidate) < count - chosen.length) chosen.push(candidate);
  }
  return chosen;
}

/** A standard normal number (Box and Muller). */
function normal(uniform: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
