import * as tf from "@tensorflow/tfjs-core";
import type { Clock, Schedule } from "../../schedules/schedule.ts";
import { finiteEntropy } from "../batch.ts";
import type { NamedTensors, PrototypePlugin, StepResult } from "../plugin.ts";
import { checkSaved, restored, save } from "../saved.ts";
import { type Components, disposeAllBut, gatherRows, present, scatterRows } from "./components.ts";
import type { Assign } from "./e-step.ts";
import { type Forgetting, LEAST_RESPONSIBILITY } from "./forgetting.ts";
import { begin, beginAtRows, type Start } from "./init.ts";
import { accumulate, estimate } from "./m-step.ts";
import { nextWeights } from "./weights.ts";

export interface MixtureOptions extends Start {
  /** In records and reports. */
  name: string;
  assign: Assign;
  /** beta. */
  annealing: Schedule;
  forgetting: Forgetting;
  /** a. */
  strength: Schedule;
  /** rho; undefined where weights are uniform. */
  weightRate: number | undefined;
  /** Whether the components begin at rows of the first batches. */
  fromData: boolean;
  /** Whether a batch leaves most components alone, so that only the others are computed. */
  narrow: boolean;
}

/** All that a step changes. */
interface State {
  components: Components;
  /** a, as the present means were computed with. */
  strength: number;
  /** Components that still wait for a row to begin at; while there are any, nothing is estimated. */
  missing: number;
}

interface Change extends State {
  touched: Int32Array | "all";
}

/** A mixture that is estimated online, by an E-step and an M-step for every batch. */
export class OnlineMixture implements PrototypePlugin {
  readonly name: string;
  readonly components: number;
  readonly dim: number;
  private now: State;

  constructor(private readonly options: MixtureOptions) {
    this.name = options.name;
    this.components = options.components;
    this.dim = options.dim;
    this.now = {
      components: tf.tidy(() => begin(options)),
      strength: 0,
      missing: options.fromData && options.start === undefined ? options.components : 0,
    };
  }

  async step(h: tf.Tensor2D, clock: Clock): Promise<StepResult> {
    if (h.shape[1] !== this.dim)
      throw new RangeError(`rows of ${h.shape[1]} numbers; ${this.dim} are needed`);
    const { now, options } = this;
    const beta = options.annealing(clock);
    const { responsibilities, entropy } = tf.tidy(() => options.assign(h, now.components, beta));
    let change: Change | undefined;
    try {
      change = now.missing > 0 ? this.gather(h, clock) : await this.mStep(h, responsibilities, clock);
      const scalars = { beta, entropy: await finiteEntropy(entropy) };
      this.now = change;
      disposeAllBut(now.components, change.components);
      return { responsibilities, touched: change.touched, scalars };
    } catch (error) {
      responsibilities.dispose();
      if (change !== undefined) disposeAllBut(change.components, now.components);
      throw error;
    } finally {
      entropy.dispose();
    }
  }

  prototypes(): tf.Tensor2D {
    return this.now.components.prototypes;
  }

  async parameters(): Promise<NamedTensors> {
    const { prototypes, means, counts, weights, variances } = this.now.components;
    const columns = await save({ counts, weights, ...(variances && { variances }) });
    const vectors = Object.entries(columns).map(([name, { shape, data }]) => {
      return [name, { data, shape: shape[1] === 1 ? shape.slice(0, 1) : shape }] as const;
    });
    return { ...(await save({ prototypes, means })), ...Object.fromEntries(vectors) };
  }

  async state(): Promise<NamedTensors> {
    const { components, strength, missing } = this.now;
    const progress = { shape: [2], data: Float32Array.of(strength, missing) };
    return { ...(await save(present(components))), progress };
  }

  load(state: NamedTensors): void {
    const old = this.now.components;
    checkSaved(state, { ...present(old), progress: { shape: [2] } }, this.name);
    const [strength = 0, missing = 0] = state.progress?.data ?? [];
    const optional = (name: "squares" | "starts" | "variances") => old[name] && restored(state, name);
    this.now = {
      components: {
        counts: restored(state, "counts"),
        sums: restored(state, "sums"),
        squares: optional("squares"),
        starts: optional("starts"),
        means: restored(state, "means"),
        variances: optional("variances"),
        prototypes: restored(state, "prototypes"),
        weights: restored(state, "weights"),
      },
      strength,
      missing,
    };
    disposeAllBut(old);
  }

  dispose(): void {
    disposeAllBut(this.now.components);
  }

  /** Components that wait for rows begin at those of the batch. */
  private gather(h: tf.Tensor2D, clock: Clock): Change {
    const { components, missing, strength } = this.now;
    const begun = beginAtRows(components, h, missing, clock.step, this.options);
    return { ...begun, missing: missing - begun.touched.length, strength };
  }

  private async mStep(h: tf.Tensor2D, r: tf.Tensor2D, clock: Clock): Promise<Change> {
    const { options, now } = this;
    // Rounded as a checkpoint rounds it, so that a resumed run does not take it for a new value.
    const strength = Math.fround(options.strength(clock));
    const w: tf.Tensor2D = tf.tidy(() => tf.reshape(tf.sum(r, 0), [-1, 1]));
    try {
      const touched = options.narrow ? touchedBy(await w.data<"float32">()) : "all";
      const everywhere = touched === "all" || strength !== now.strength;
      const components = tf.tidy(() => {
        const updated =
          touched === "all" ? this.updateAll(h, r, w, strength) : this.updateSome(h, r, w, strength, touched);
        return options.weightRate === undefined
          ? updated
          : { ...updated, weights: nextWeights(updated.weights, w, h.shape[0], options.weightRate) };
      });
      return { components, strength, missing: 0, touched: everywhere ? "all" : touched };
    } finally {
      w.dispose();
    }
  }

  /** n, s, q and all that follows from them, for every component. */
  private updateAll(h: tf.Tensor2D, r: tf.Tensor2D, w: tf.Tensor2D, strength: number): Components {
    const { forgetting, covariance } = this.options;
    const accumulated = accumulate(this.now.components, { r, h, w }, forgetting, covariance.estimated);
    return estimate(accumulated, strength, covariance.estimated);
  }

  /** The same for the touched components alone, unless the prior's strength has changed: that moves all means. */
  private updateSome(
    h: tf.Tensor2D,
    r: tf.Tensor2D,
    w: tf.Tensor2D,
    strength: number,
    touched: Int32Array,
  ): Components {
    const {
      forgetting,
      covariance: { estimated },
    } = this.options;
    const { components: all, strength: last } = this.now;
    const indices = tf.tensor1d(touched, "int32");
    const batch = { r: tf.gather(r, indices, 1), h, w: tf.gather(w, indices) };
    const rows = accumulate(gatherRows(all, indices), batch, forgetting, estimated);
    if (strength === last) return scatterRows(all, indices, estimate(rows, strength, estimated));
    return estimate(scatterRows(all, indices, rows), strength, estimated);
  }
}

/** The components with a share in the batch, ascending. */
function touchedBy(w: Float32Array): Int32Array {
  const indices: number[] = [];
  w.forEach((value, index) => {
    if (!(value < LEAST_RESPONSIBILITY)) indices.push(index);
  });
  return Int32Array.from(indices);
}
