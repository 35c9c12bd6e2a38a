import * as tf from "@tensorflow/tfjs-core";
import type { NamedTensors } from "../../files/tensors.ts";
import type { Clock, Schedule } from "../../schedules/schedule.ts";
import { Estimator } from "../estimator.ts";
import type { Proposal, Wanted } from "../plugin.ts";
import { checkSaved, restored, save } from "../saved.ts";
import { selected } from "../selected.ts";
import {
  type Components,
  componentsOf,
  disposeAllBut,
  gatherRows,
  present,
  scatterRows,
} from "./components.ts";
import type { Assign } from "./e-step.ts";
import { type Forgetting, LEAST_RESPONSIBILITY } from "./forgetting.ts";
import { begin, beginAtRows, type Start } from "./init.ts";
import { accumulate, estimate, meansOf } from "./m-step.ts";
import { type BatchEStep, blockRows, disposeSums, eStepOf, type Sums, sumsOf } from "./statistics.ts";
import { type Seen, shareAfter, startAgain, type Use } from "./use.ts";
import { nextWeights } from "./weights.ts";

export interface MixtureOptions extends Start {
  /** In records and reports. */
  name: string;
  assign: Assign;
  /** How many mixtures the components are divided into. */
  mixtures: number;
  /** beta. */
  annealing: Schedule;
  forgetting: Forgetting;
  /** a. */
  strength: Schedule;
  /** rho; undefined if weights are uniform. */
  weightRate: number | undefined;
  /** Whether the components begin at rows of the first batches. */
  fromData: boolean;
  /** The share of components that should be live, and how idle ones start again; undefined: they do not. */
  use: (Use & { share: Schedule | undefined }) | undefined;
  /** Whether a batch leaves most components untouched, so that only the others are computed. This reads w at every step. */
  narrow: boolean;
  /** Rows that E- and M-step take at once. */
  block: number | "auto";
}

/** The state that a step changes. */
interface State {
  components: Components;
  /** The a of the present means; UNKNOWN if every step recomputes all means. */
  strength: number;
  /** Components that still wait for a first row. Until all have one, nothing is estimated. */
  missing: number;
}

/** The strength if no step needs it: only the device knows whether a step was taken. */
const UNKNOWN = -1;

interface Change extends State {
  touched: Int32Array | "all";
}

/** A mixture that is estimated online: an E-step and an M-step for every batch. */
export class OnlineMixture extends Estimator {
  readonly name: string;
  readonly components: number;
  readonly dim: number;
  private now: State;

  constructor(private readonly options: MixtureOptions) {
    super();
    this.name = options.name;
    this.components = options.components;
    this.dim = options.dim;
    this.now = {
      components: tf.tidy(() => begin(options)),
      strength: this.noted(0),
      missing: options.fromData && options.start === undefined ? options.components : 0,
    };
  }

  async propose(h: tf.Tensor2D, clock: Clock, wanted: Wanted = {}): Promise<Proposal> {
    if (h.shape[1] !== this.dim)
      throw new RangeError(`rows of ${h.shape[1]} numbers; ${this.dim} are needed`);
    const { now, options } = this;
    const beta = options.annealing(clock);
    // Rounded to float32 as in a checkpoint, so that a resumed run sees the same value.
    const strength = Math.fround(options.strength(clock));
    const share =
      options.use && (options.use.share?.(clock) ?? shareAfter(clock.step + 1, h.shape[0], this.components));
    const eStep = tf.tidy(() => {
      const rows = blockRows(options.block, this.components);
      const assign = options.assign(now.components, beta);
      const winners = wanted.winners === true || options.use !== undefined;
      return eStepOf(h, rows, assign, options.covariance.estimated, { ...wanted, winners }, options.mixtures);
    });
    const { entropy, evidence, responsibilities, winners, sums } = eStep;
    try {
      const change = now.missing > 0 ? this.gather(h, clock) : await this.mStep(h, eStep, strength);
      const again =
        now.missing === 0 && winners
          ? this.startAgain(change, { h, winners, evidence }, strength, share)
          : undefined;
      return {
        ...this.proposal(again?.change ?? change),
        ...(wanted.responsibilities && responsibilities && { responsibilities }),
        ...(wanted.winners && winners && { winners }),
        scalars: { beta, entropy, ...again?.scalars },
      };
    } catch (error) {
      tf.dispose([entropy, responsibilities ?? [], winners ?? []]);
      throw error;
    } finally {
      evidence.dispose();
      if (winners !== undefined && !wanted.winners) winners.dispose();
      if (sums !== undefined) disposeSums(sums);
      if (!wanted.responsibilities) responsibilities?.dispose();
    }
  }

  prototypes(): tf.Tensor2D {
    return this.now.components.prototypes;
  }

  async parameters(): Promise<NamedTensors> {
    const { prototypes, counts, weights, variances } = this.now.components;
    const [matrices, columns] = await this.withMeans((means) =>
      Promise.all([save({ prototypes, means }), save({ counts, weights, ...(variances && { variances }) })]),
    );
    const vectors = Object.entries(columns).map(([name, { shape, data }]) => {
      return [name, { data, shape: shape[1] === 1 ? shape.slice(0, 1) : shape }] as const;
    });
    return { ...matrices, ...Object.fromEntries(vectors) };
  }

  async state(): Promise<NamedTensors> {
    const { components, strength, missing } = this.now;
    const progress = { shape: [2], data: Float32Array.of(strength, missing) };
    return this.withMeans(async (means) => ({
      ...(await save({ ...present(components), means })),
      progress,
    }));
  }

  /** The means for `read`, computed if they are not kept. */
  private async withMeans<T>(read: (means: tf.Tensor2D) => Promise<T>): Promise<T> {
    const { components } = this.now;
    // Means that are not kept have a prior of constant strength.
    const means = meansOf(components, this.options.strength.range?.[0] ?? 0);
    try {
      return await read(means);
    } finally {
      if (means !== components.means) means.dispose();
    }
  }

  load(given: NamedTensors): void {
    const old = this.now.components;
    const means = { shape: old.prototypes.shape };
    const state = fitting(given, old);
    checkSaved(state, { ...present(old), means, progress: { shape: [2] } }, this.name);
    const [strength = 0, missing = 0] = state.progress?.data ?? [];
    this.now = {
      components: componentsOf((name) => old[name] && restored(state, name)),
      strength: this.noted(strength),
      missing,
    };
    disposeAllBut(old);
  }

  dispose(): void {
    disposeAllBut(this.now.components);
  }

  private proposal({ components: next, strength, missing, touched }: Change) {
    const { components: old, missing: before } = this.now;
    return {
      prototypes: next.prototypes,
      touched,
      guarded: before === 0,
      adopt: (ok?: tf.Scalar) => {
        const components = selected(ok, next, old);
        this.now = { components, strength: this.noted(strength), missing };
        disposeAllBut(old, components);
      },
      discard: () => disposeAllBut(next, old),
    };
  }

  private noted(strength: number): number {
    return this.options.narrow ? strength : UNKNOWN;
  }

  /** Restarts idle components, if configured. */
  private startAgain(change: Change, seen: Seen, strength: number, share: number | undefined) {
    const { use, covariance, mixtures } = this.options;
    if (use === undefined || share === undefined) return undefined;
    const { components, live, started } = tf.tidy(() =>
      startAgain(change.components, seen, { ...use, share, strength, mixtures }, covariance.estimated),
    );
    disposeAllBut(change.components, components, this.now.components);
    const next: Change = { ...change, components, touched: "all" };
    return { change: next, scalars: { live, started } };
  }

  /** Components that wait for rows begin at those of the batch. */
  private gather(h: tf.Tensor2D, clock: Clock): Change {
    const { components, missing, strength } = this.now;
    const begun = beginAtRows(components, h, missing, clock.step, this.options);
    return { ...begun, missing: missing - begun.touched.length, strength };
  }

  private async mStep(h: tf.Tensor2D, eStep: BatchEStep, strength: number): Promise<Change> {
    const { options, now } = this;
    const { responsibilities: r, sums: summed } = eStep;
    const estimated = options.covariance.estimated;
    if (r === undefined || summed !== undefined || !options.narrow) {
      const components = tf.tidy(() => {
        const sums = summed ?? (r && sumsOf(r, h, estimated));
        if (sums === undefined) throw new TypeError("an E-step without responsibilities");
        return this.weighted(this.updateAll(sums, strength), sums.w, h.shape[0]);
      });
      return { components, strength, missing: 0, touched: "all" };
    }
    const w = tf.tidy(() => tf.reshape<tf.Rank.R2>(tf.sum(r, 0), [-1, 1]));
    try {
      const touched = touchedBy(await w.data<"float32">());
      const components = tf.tidy(() =>
        this.weighted(this.updateSome(h, r, strength, touched), w, h.shape[0]),
      );
      return { components, strength, missing: 0, touched: strength === now.strength ? touched : "all" };
    } finally {
      w.dispose();
    }
  }

  private weighted(updated: Components, w: tf.Tensor2D, batch: number): Components {
    const { weightRate, mixtures } = this.options;
    if (weightRate === undefined) return updated;
    // Every mixture has all rows of the batch, and so the same share of the weights.
    return { ...updated, weights: nextWeights(updated.weights, w, batch * mixtures, weightRate) };
  }

  /** n, s, q and all that follows from them, for every component. */
  private updateAll(sums: Sums, strength: number): Components {
    const { forgetting, covariance } = this.options;
    return estimate(accumulate(this.now.components, sums, forgetting), strength, covariance.estimated);
  }

  /** The same for the touched components only, unless the prior's strength has changed, which moves all means. */
  private updateSome(h: tf.Tensor2D, r: tf.Tensor2D, strength: number, touched: Int32Array): Components {
    const {
      forgetting,
      covariance: { estimated },
    } = this.options;
    const { components: all, strength: last } = this.now;
    const indices = tf.tensor1d(touched, "int32");
    const sums = sumsOf(tf.gather(r, indices, 1), h, estimated);
    const rows = accumulate(gatherRows(all, indices), sums, forgetting);
    if (strength === last) return scatterRows(all, indices, estimate(rows, strength, estimated));
    return estimate(scatterRows(all, indices, rows), strength, estimated);
  }
}

/**
 * A state saved by a mixture that differs in its prior, or in whether components come into use, as the mixture of `like`
 * would have saved it. Starts and ages that it does not use are left out. Missing ages are 0, so that no component is idle
 * yet; missing starts are the present prototypes, so that the prior does not move them.
 */
function fitting(state: NamedTensors, like: Components): NamedTensors {
  const { starts, ages, ...others } = state;
  const K = like.counts.shape[0];
  const begun = (like.ages && ages === undefined) || starts === undefined ? state.prototypes : starts;
  return {
    ...others,
    ...(like.starts && begun && { starts: begun }),
    ...(like.ages && { ages: ages ?? { shape: [K, 1], data: new Float32Array(K) } }),
  };
}

/** The components with a share in the batch, ascending. */
function touchedBy(w: Float32Array): Int32Array {
  const indices: number[] = [];
  w.forEach((value, index) => {
    if (!(value < LEAST_RESPONSIBILITY)) indices.push(index);
  });
  return Int32Array.from(indices);
}
