import * as tf from "@tensorflow/tfjs-core";
import type { PluginConfig } from "../config/schema.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type { Clock } from "../schedules/schedule.ts";
import { Estimator } from "./estimator.ts";
import { type Components, disposeAllBut } from "./online-gmm/components.ts";
import { shared } from "./online-gmm/covariance.ts";
import { soft } from "./online-gmm/e-step.ts";
import { begin } from "./online-gmm/init.ts";
import { blockRows, eStepOf } from "./online-gmm/statistics.ts";
import type { Proposal, PrototypePlugin, Wanted } from "./plugin.ts";
import { checkSaved, restored, save } from "./saved.ts";
import type { StartOptions } from "./start.ts";

export type FrozenOptions = StartOptions &
  Pick<PluginConfig, "variance" | "cutoff"> &
  Partial<Pick<PluginConfig, "block" | "mixtures">>;

/**
 * Prototypes that never move, in random directions or at a given start. They are the baseline against
 * which estimation is compared. Responsibilities are softmax(h . c / variance).
 */
export function frozen(options: FrozenOptions): PrototypePlugin {
  return new Frozen(options);
}

class Frozen extends Estimator {
  readonly name = "frozen";
  readonly components: number;
  readonly dim: number;
  private readonly assign;
  private readonly rows: number;
  private readonly mixtures: number | undefined;
  private fixed: Components;

  constructor(options: FrozenOptions) {
    super();
    this.rows = blockRows(options.block ?? "auto", options.components);
    const covariance = shared(options.variance, false);
    this.components = options.components;
    this.dim = options.dim;
    this.mixtures = options.mixtures;
    this.assign = soft(covariance, options.cutoff, options.mixtures);
    this.fixed = tf.tidy(() => begin({ ...options, covariance, count: 1, prior: false, keepsMeans: false }));
  }

  async propose(h: tf.Tensor2D, _clock: Clock, wanted: Wanted = {}): Promise<Proposal> {
    const made = tf.tidy(() => {
      const assign = this.assign(this.fixed, 1);
      const { entropy, responsibilities, winners } = eStepOf(
        h,
        this.rows,
        assign,
        undefined,
        wanted,
        this.mixtures,
      );
      return {
        ...(wanted.responsibilities && responsibilities && { responsibilities }),
        ...(winners && { winners }),
        scalars: { entropy },
      };
    });
    const nothing = () => {};
    const prototypes = this.fixed.prototypes;
    return {
      ...made,
      prototypes,
      touched: new Int32Array(0),
      guarded: true,
      adopt: nothing,
      discard: nothing,
    };
  }

  prototypes(): tf.Tensor2D {
    return this.fixed.prototypes;
  }

  parameters(): Promise<NamedTensors> {
    return this.state();
  }

  state(): Promise<NamedTensors> {
    return save({ prototypes: this.fixed.prototypes });
  }

  load(state: NamedTensors): void {
    const old = this.fixed;
    checkSaved(state, { prototypes: old.prototypes }, this.name);
    this.fixed = { ...old, prototypes: restored(state, "prototypes") };
    old.prototypes.dispose();
  }

  dispose(): void {
    disposeAllBut(this.fixed);
  }
}
