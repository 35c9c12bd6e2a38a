import * as tf from "@tensorflow/tfjs-core";
import { directions, generator, sample } from "../random.ts";
import { lengths, type StartOptions, startRows } from "../start.ts";
import { type Components, NEVER } from "./components.ts";
import type { Covariance, EstimatedVariance } from "./covariance.ts";

export interface Start extends StartOptions {
  covariance: Covariance;
  /** Pseudo-samples that each component begins with; they are forgotten like data. */
  count: number;
  /** Whether there is a prior, which pulls the means toward their starts. */
  prior: boolean;
  /** Whether the means are kept, or computed from the statistics on request. */
  keepsMeans: boolean;
  /** Whether idle components start again, so that their ages are kept. */
  startsAgain?: boolean;
}

/**
 * Components at random directions, mu = m, or at given means. There m is a fresh random direction,
 * since a prior on a collapsed start would keep it collapsed.
 *
 * @throws UserError if the given means do not fit.
 */
export function begin(options: Start): Components {
  const means = startRows(options);
  const fresh = () => directions(options.components, options.dim, options.seed, "directions");
  // A component at a given prototype gets time to win a row before it counts as idle.
  return options.start === undefined
    ? beginAt(means, means, NEVER, options)
    : beginAt(means, fresh(), 0, options);
}

/**
 * The last `missing` components, or as many as the batch has rows for, begin at rows of the batch:
 * all of its rows in order, or, if there are more than needed, some chosen by the seed.
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
    if (old.means === undefined) throw new TypeError("the components have no means");
    const means: tf.Tensor2D = tf.tensorScatterUpdate(old.means, places, rows);
    return beginAt(means, means, 0, options);
  });
  return { components, touched };
}

/** n = count, s = count mu, q = count (mu^2 + v_0), for means mu (R x D). */
export function statisticsAt(
  means: tf.Tensor2D,
  count: number,
  estimated: EstimatedVariance | undefined,
): Pick<Components, "counts" | "sums" | "squares"> {
  const moments =
    estimated && tf.add<tf.Tensor2D>(estimated.square(means), estimated.covers * estimated.initial);
  return {
    counts: tf.fill([means.shape[0], 1], count),
    sums: tf.mul(means, count),
    squares: moments && tf.mul(moments, count),
  };
}

/** The statistics of `count` pseudo-samples at the means, with the prior at `starts`. */
function beginAt(
  means: tf.Tensor2D,
  starts: tf.Tensor2D,
  age: number,
  { count, prior, keepsMeans, startsAgain, covariance: { estimated } }: Start,
): Components {
  const components = means.shape[0];
  const statistics = statisticsAt(means, count, estimated);
  const { squares } = statistics;
  return {
    ...statistics,
    starts: prior ? starts : undefined,
    means: keepsMeans ? means : undefined,
    variances: estimated && squares && tf.fill(squares.shape, estimated.initial),
    prototypes: tf.div(means, lengths(means)),
    weights: tf.fill([components, 1], 1 / components),
    ages: startsAgain ? tf.fill([components, 1], age) : undefined,
  };
}
