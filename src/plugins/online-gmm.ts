import { mixturesProblem } from "../config/mixtures.ts";
import type { PluginConfig } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { constant, type Schedule, within } from "../schedules/schedule.ts";
import { type Covariance, diagonal, shared, spherical } from "./online-gmm/covariance.ts";
import { soft } from "./online-gmm/e-step.ts";
import { byNothing, byResponsibility, byTime, type Forgetting } from "./online-gmm/forgetting.ts";
import { OnlineMixture } from "./online-gmm/online-mixture.ts";
import type { PrototypePlugin } from "./plugin.ts";
import type { StartOptions } from "./start.ts";

/** The settings of docs/configuration.md under `plugin`, with schedules as values, and: */
export interface OnlineGmmOptions
  extends Omit<PluginConfig, "kind" | "annealing" | "prior" | "use">,
    StartOptions {
  /** beta, in (0, 1]. */
  annealing: Schedule;
  prior: {
    /** a, at least 0; auto: see `apart`. */
    strength: Schedule | "auto";
  };
  use: Omit<PluginConfig["use"], "share"> & {
    /** Of the components, from 0 to 1; auto: see `use.ts`. */
    share: Schedule | "auto";
  };
  /** Whether every step computes all components. Choosing some of them would read a tensor. */
  dense?: boolean | undefined;
}

/**
 * A Gaussian mixture that is estimated online: annealed E-step, forgetting by responsibility, a
 * prior on the means. docs/mixture.md explains each option, and each choice that the sources leave open.
 *
 * @throws UserError if a schedule leaves its allowed range, if the mixtures cannot have one size, or if the given start
 * does not fit.
 */
export function onlineGmm(options: OnlineGmmOptions): PrototypePlugin {
  const covariance = covarianceOf(options);
  const common = mixtureOptions(options, covariance);
  return new OnlineMixture({
    ...common,
    name: "online-gmm",
    assign: soft(covariance, options.cutoff, options.mixtures),
    weightRate: options.weights === "estimated" ? options.weightRate : undefined,
    narrow: common.narrow && options.cutoff > 0,
  });
}

/** Far above the smallest divisor of the M-step. */
const LEAST_PRIOR = 1e-6;

/** The options that the mixture shares with its limit, k-means. */
export function mixtureOptions(options: OnlineGmmOptions, covariance: Covariance) {
  const problem = mixturesProblem(options);
  if (problem !== null) throw new UserError(problem);
  const use = useOf(options);
  const { strength: given } = options.prior;
  const strength = within(
    given === "auto" ? constant(apart(memoryOf(options), options.dim, use !== undefined)) : given,
    "prior.strength",
    "at least 0",
    (a) => a >= 0 && a < Infinity,
  );
  return {
    components: options.components,
    mixtures: options.mixtures,
    dim: options.dim,
    seed: options.seed,
    covariance,
    // A given start from which components may move apart weighs as much as a component that starts again.
    count: use && options.start ? Math.max(use.count, options.init.count) : options.init.count,
    prior: !(strength.range?.[0] === 0 && strength.range[1] === 0),
    keepsMeans: !meansFollow(options, covariance, strength.range ?? [0, 0]),
    start: options.start,
    annealing: within(
      options.annealing,
      "annealing",
      "above 0 and at most 1",
      (beta) => beta > 0 && beta <= 1,
    ),
    forgetting: forgettingOf(options.forgetting),
    strength,
    fromData: options.init.from === "data",
    block: options.block,
    use,
    startsAgain: use !== undefined,
    /** Whether a batch may leave components untouched. */
    narrow: use === undefined && options.forgetting.by !== "time" && options.dense !== true,
  };
}

function useOf(options: OnlineGmmOptions) {
  const { share: given, idle, rows } = options.use;
  const share =
    given === "auto"
      ? undefined
      : within(given, "use.share", "from 0 to 1", (value) => value >= 0 && value <= 1);
  if (share?.range?.[0] === 0 && share.range[1] === 0) return undefined;
  return { share, count: memoryOf(options), idle: idle === "auto" ? undefined : idle, rows };
}

/** M, the samples that a component remembers; 100 if it does not forget by responsibility. */
function memoryOf({ forgetting: { by, retention } }: OnlineGmmOptions): number {
  return by === "responsibility" && retention < 1 ? 1 / (1 - retention) : 100;
}

/**
 * The default of a. Two components at the same data, n = M, have the cosine M^2 / (M^2 + a^2), give or take the cosine of
 * random directions in D dimensions, about 1 / sqrt(D). With a = M (1 + 4 / sqrt(D)) they are at least .5 apart. If
 * nothing brings components into use, a is a tenth of the memory.
 */
function apart(memory: number, dim: number, comeIntoUse: boolean): number {
  return comeIntoUse ? memory * (1 + 4 / Math.sqrt(dim)) : memory / 10;
}

/**
 * Whether the means follow from the statistics at any time. With a prior of constant strength the divisor is never zero,
 * so no earlier mean is needed.
 */
function meansFollow(
  { init, start }: OnlineGmmOptions,
  { estimated }: Covariance,
  [low, high]: readonly [number, number],
): boolean {
  const given = start !== undefined || init.from === "data";
  return estimated === undefined && !given && low === high && low >= LEAST_PRIOR;
}

function covarianceOf({ covariance, variance, floor, weights, init, dim }: OnlineGmmOptions): Covariance {
  const initial = init.variance === "1/D" ? 1 / dim : init.variance;
  if (covariance === "spherical") return spherical(dim, initial, floor);
  if (covariance === "diagonal") return diagonal(initial, floor);
  return shared(variance, weights === "estimated");
}

function forgettingOf({ by, retention }: PluginConfig["forgetting"]): Forgetting {
  if (by === "time") return byTime(retention);
  return by === "nothing" ? byNothing() : byResponsibility(retention);
}
