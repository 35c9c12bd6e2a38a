import { setImmediate as yieldToEvents } from "node:timers/promises";
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import type { Vectors } from "../files/rows.ts";
import type { MeasureOptions } from "./uniqueness.ts";
import { dot, unitFloat64 } from "./unit.ts";

/**
 * The effective rank of K prototypes, in [1, min(K, D)]: exp of the entropy of the singular values of
 * the L2-normalised rows, divided by their sum (Roy & Vetterli 2007).
 *
 * The singular values are the roots of the eigenvalues of the smaller Gram matrix, in float64. In
 * float32 singular values of 0 would come out near 3e-4 of the largest, and raise the rank of a
 * collapsed layer.
 */
export async function effectiveRank(prototypes: Vectors, options: MeasureOptions = {}): Promise<number> {
  const unit = unitFloat64(prototypes, options.source ?? "prototypes");
  const { rows: K, dim: D } = prototypes;
  const gram = K < D ? await rowGram(unit, K, D) : await columnGram(unit, K, D);
  const { realEigenvalues } = new EigenvalueDecomposition(gram, { assumeSymmetric: true });
  const singular = realEigenvalues.map((value) => Math.sqrt(Math.max(0, value)));
  return perplexityOf(singular);
}

/** exp of the entropy of numbers >= 0 after division by their sum; 0 if all are 0. */
export function perplexityOf(masses: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < masses.length; i++) sum += masses[i] ?? 0;
  if (sum === 0) return 0;
  let entropy = 0;
  for (let i = 0; i < masses.length; i++) {
    const share = (masses[i] ?? 0) / sum;
    if (share > 0) entropy -= share * Math.log(share);
  }
  return Math.exp(entropy);
}

/** Products between two turns of the event loop: about 20 ms. */
const PRODUCTS_PER_TURN = 2e7;

/** X^T X, D x D. */
async function columnGram(x: Float64Array, K: number, D: number): Promise<Matrix> {
  const sums = new Float64Array(D * D);
  const turn = Math.max(1, Math.floor(PRODUCTS_PER_TURN / D ** 2));
  for (let row = 0; row < K; row++) {
    for (let a = 0; a < D; a++) {
      const left = x[row * D + a] ?? 0;
      for (let b = 0; b <= a; b++) sums[a * D + b] = (sums[a * D + b] ?? 0) + left * (x[row * D + b] ?? 0);
    }
    if (row % turn === turn - 1) await yieldToEvents();
  }
  return symmetric(D, (a, b) => sums[a * D + b] ?? 0);
}

/** X X^T, K x K, for K < D. */
async function rowGram(x: Float64Array, K: number, D: number): Promise<Matrix> {
  await yieldToEvents();
  return symmetric(K, (i, j) => dot(x, D, i, j));
}

/** A symmetric matrix from the values of its lower triangle, a >= b. */
function symmetric(size: number, value: (a: number, b: number) => number): Matrix {
  const matrix = Matrix.zeros(size, size);
  for (let a = 0; a < size; a++) {
    for (let b = 0; b <= a; b++) {
      const v = value(a, b);
      matrix.set(a, b, v);
      matrix.set(b, a, v);
    }
  }
  return matrix;
}
