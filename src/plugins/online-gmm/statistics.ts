import * as tf from "@tensorflow/tfjs-core";
import type { Wanted } from "../plugin.ts";
import { winnersOf } from "../winners.ts";
import type { EstimatedVariance } from "./covariance.ts";
import type { EStep } from "./e-step.ts";

/** The most numbers in a block of responsibilities (64 MiB), unless the configuration sets its rows. */
const BLOCK_NUMBERS = 2 ** 24;

/** The sums over a batch for the M-step, with r (N x K) and h (N x D). */
export type Sums = {
  /** w = sum_i r_i (K x 1). */
  w: tf.Tensor2D;
  /** sum_i r_ik h_i (K x D). */
  s: tf.Tensor2D;
  /** sum_i r_ik h_i^2 (K x Q), if variances are estimated. */
  q: tf.Tensor2D | undefined;
};

/** What a step keeps of a batch's E-step. */
export type BatchEStep = {
  /** Mean over the batch, in nats. */
  entropy: tf.Scalar;
  /** N, see EStep. */
  evidence: tf.Tensor1D;
  /** N x K, if the batch was one block or if they were requested. */
  responsibilities: tf.Tensor2D | undefined;
  /** K, see winnersOf; if they were requested. */
  winners: tf.Tensor1D | undefined;
  /** If the batch was several blocks. */
  sums: Sums | undefined;
};

/** Rows that E- and M-step take at once. `block`: as configured. */
export function blockRows(block: number | "auto", components: number): number {
  return block === "auto" ? Math.max(1, Math.floor(BLOCK_NUMBERS / components)) : block;
}

/**
 * The E-step of the batch `h` (N x D). A larger batch than `rows` is computed in blocks, which are summed up one by
 * one, so that N x K numbers exist only if the responsibilities are requested.
 */
export function eStepOf(
  h: tf.Tensor2D,
  rows: number,
  assign: (h: tf.Tensor2D) => EStep,
  estimated: EstimatedVariance | undefined,
  wanted: Wanted,
  mixtures = 1,
): BatchEStep {
  const [n, dim] = h.shape;
  if (n <= rows) {
    const { responsibilities, entropies, evidence } = assign(h);
    const winners = wanted.winners ? winnersOf(responsibilities, mixtures) : undefined;
    return { entropy: tf.mean(entropies), evidence, responsibilities, winners, sums: undefined };
  }
  const parts: (Omit<BatchEStep, "sums"> & { sums: Sums })[] = [];
  for (let start = 0; start < n; start += rows) {
    const before = parts.at(-1)?.sums;
    const part = tf.tidy(() => {
      const block = tf.slice2d(h, [start, 0], [Math.min(rows, n - start), dim]);
      const { responsibilities: r, entropies, evidence } = assign(block);
      return {
        entropy: tf.sum<tf.Scalar>(entropies),
        evidence,
        responsibilities: wanted.responsibilities ? r : undefined,
        winners: wanted.winners ? winnersOf(r, mixtures) : undefined,
        sums: added(before, sumsOf(r, block, estimated)),
      };
    });
    if (before !== undefined) disposeSums(before);
    parts.push(part);
  }
  return {
    entropy: tf.div(tf.addN(parts.map((part) => part.entropy)), n),
    evidence: tf.concat1d(parts.map((part) => part.evidence)),
    responsibilities: wanted.responsibilities
      ? tf.concat2d(
          parts.flatMap((part) => part.responsibilities ?? []),
          0,
        )
      : undefined,
    winners: any(parts.flatMap((part) => part.winners ?? [])),
    sums: parts.at(-1)?.sums,
  };
}

/** The sums over rows `h`, whose responsibilities are `r`. */
export function sumsOf(r: tf.Tensor2D, h: tf.Tensor2D, estimated: EstimatedVariance | undefined): Sums {
  return {
    w: tf.reshape(tf.sum(r, 0), [-1, 1]),
    s: sumsOver(r, h),
    q: estimated && sumsOver(r, estimated.square(h)),
  };
}

export function disposeSums({ w, s, q }: Sums): void {
  tf.dispose(q === undefined ? [w, s] : [w, s, q]);
}

function added(before: Sums | undefined, { w, s, q }: Sums): Sums {
  if (before === undefined) return { w, s, q };
  return { w: tf.add(before.w, w), s: tf.add(before.s, s), q: before.q && q && tf.add(before.q, q) };
}

/** sum_i r_ik x_i (R x Q). Transposes N x Q and Q x R, since r itself is the largest. */
function sumsOver(r: tf.Tensor2D, x: tf.Tensor2D): tf.Tensor2D {
  return tf.transpose(tf.matMul<tf.Tensor2D>(tf.transpose(x), r));
}

/** Components that won a row of some block. */
function any([first, ...others]: tf.Tensor1D[]): tf.Tensor1D | undefined {
  return others.reduce<tf.Tensor1D | undefined>((won, each) => won && tf.maximum(won, each), first);
}
