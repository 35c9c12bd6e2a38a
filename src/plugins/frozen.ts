import * as tf from "@tensorflow/tfjs-core";
import type { PluginConfig } from "../config/schema.ts";
import { finiteEntropy } from "./batch.ts";
import { type Components, disposeAllBut } from "./online-gmm/components.ts";
import { shared } from "./online-gmm/covariance.ts";
import { soft } from "./online-gmm/e-step.ts";
import { begin } from "./online-gmm/init.ts";
import type { NamedTensors, PrototypePlugin, StepResult } from "./plugin.ts";
import { checkSaved, restored, save } from "./saved.ts";
import type { StartOptions } from "./start.ts";

export type FrozenOptions = StartOptions & Pick<PluginConfig, "variance" | "cutoff">;

/**
 * Prototypes that never move, at random directions or a given start: the baseline that shows what
 * estimating them is worth. Responsibilities are softmax(h . c / variance).
 */
export function frozen(options: FrozenOptions): PrototypePlugin {
  return new Frozen(options);
}

class Frozen implements PrototypePlugin {
  readonly name = "frozen";
  readonly components: number;
  readonly dim: number;
  private readonly assign;
  private fixed: Components;

  constructor(options: FrozenOptions) {
    const covariance = shared(options.variance, false);
    this.components = options.components;
    this.dim = options.dim;
    this.assign = soft(covariance, options.cutoff);
    this.fixed = tf.tidy(() => begin({ ...options, covariance, count: 1, prior: false }));
  }

  async step(h: tf.Tensor2D): Promise<StepResult> {
    const { responsibilities, entropy } = tf.tidy(() => this.assign(h, this.fixed, 1));
    try {
      const scalars = { entropy: await finiteEntropy(entropy) };
      return { responsibilities, touched: new Int32Array(0), scalars };
    } catch (error) {
      responsibilities.dispose();
      throw error;
    } finally {
      entropy.dispose();
    }
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
