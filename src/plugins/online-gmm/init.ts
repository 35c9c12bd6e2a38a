import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../../errors.ts";
import { rowLengths } from "../../files/rows.ts";
import { directions, generator, sample } from "../random.ts";
import type { Components } from "./components.ts";
import type { Covariance } from "./covariance.ts";
import { lengths } from "./m-step.ts";

export interface Start {
  components: number;
  dim: number;
  seed: number;
  covariance: Covariance;
  /** Pseudo-samples that each component begins with; they are forgotten like data. */
  count: number;
  /** Whether there is a prior, which pulls the means to where they began. */
  prior: boolean;
  /** K x D means to begin at, such as a checkpoint's; random directions where it is left out. */
  given: Float32Array | undefined;
}

/**
 * Components at random directions, uniform on the sphere: mu = m. Where means are given, mu is
 * those and m a fresh random direction, since a prior on a collapsed start would keep it collapsed.
 *
 * @throws UserError where the given means are not K x D, finite, none of them all zero.
 */
export function start(options: Start): Components {
  const { components, dim, seed, given } = options;
  const random = directions(components, dim, seed, "directions");
  if (given === undefined) return beginAt(random, random, options);
  if (given.length !== components * dim) {
    throw new UserError(
      `the given prototypes are ${given.length} numbers; ${components} components of dimension ${dim} need ${components * dim}`,
    );
  }
  rowLengths(given, dim, "the given prototypes");
  return beginAt(tf.tensor2d(given, [components, dim]), random, options);
}

/**
 * The last `missing` components, or as many as the batch has rows for, begin at rows of the batch:
 * all of its rows in order, or, where there are more than are needed, some that the seed chooses.
 */
export function beginAtRows(
  old: Components,
  h: tf.Tensor2D,
  missing: number,
  step: number,
  options: Start,
): { components: Components; touched: Int32Array } {
  const uniform = generator(options.seed, `rows of step ${step}`);
  const chosen = sample(Math.min(missing, h.shape[0]), h.shape[0], uniform);
  const touched = Int32Array.from(chosen, (_, at) => options.components - missing + at);
  const components = tf.tidy(() => {
    const places = tf.tensor2d(touched, [touched.length, 1], "int32");
    const rows: tf.Tensor2D = tf.gather(h, tf.tensor1d(chosen, "int32"));
    const means: tf.Tensor2D = tf.tensorScatterUpdate(old.means, places, rows);
    return beginAt(means, means, options);
  });
  return { components, touched };
}

/** n = count, s = count mu, q = count (mu^2 + v_0), each component at `at`, its prior at `starts`. */
function beginAt(
  at: tf.Tensor2D,
  starts: tf.Tensor2D,
  { count, prior, covariance: { estimated } }: Start,
): Components {
  // Adding 0 turns -0 into 0, so that a step that leaves a sum alone keeps even the sign of its zeros.
  const means: tf.Tensor2D = tf.add(at, 0);
  const moments =
    estimated && tf.add<tf.Tensor2D>(estimated.square(means), estimated.covers * estimated.initial);
  const components = means.shape[0];
  return {
    counts: tf.fill([components, 1], count),
    sums: tf.mul(means, count),
    squares: moments && tf.mul(moments, count),
    starts: prior ? starts : undefined,
    means,
    variances: estimated && moments && tf.fill(moments.shape, estimated.initial),
    prototypes: tf.div(means, lengths(means)),
    weights: tf.fill([components, 1], 1 / components),
  };
}
