import * as tf from "@tensorflow/tfjs-core";
import type { TargetsConfig } from "../config/schema.ts";
import { type Clock, parseSchedule, within } from "../schedules/schedule.ts";
import { Centering } from "./centering.ts";
import type { NamedTensors, PrototypePlugin, StepResult } from "./plugin.ts";
import { checkSaved } from "./saved.ts";
import { sinkhorn } from "./sinkhorn.ts";

/** What the student learns to predict: a distribution over the prototypes for each row of the batch. */
export interface Targets {
  /**
   * N x K, rows that sum to 1, for the batch `h` (N x D) of which `result` is the plugin's step.
   * The caller disposes of it. Called once a step: a center moves with it.
   */
  of(h: tf.Tensor2D, plugin: PrototypePlugin, result: StepResult, clock: Clock): tf.Tensor2D;
  /** All that a later `load` needs to go on bit for bit. */
  state(): Promise<NamedTensors>;
  /** @throws UserError, and changes nothing, where the state does not fit. */
  load(state: NamedTensors): void;
  dispose(): void;
}

/** Scores of the prototypes, and what they are divided by before a softmax. */
type Scores = { x: tf.Tensor2D; temperature: number };

/** 0 has no logarithm; what a cutoff has set to 0 is this small. */
const LEAST_RESPONSIBILITY = 1e-30;

/**
 * Targets from the similarities h . c / temperature, with the prototypes as the step has left them,
 * or from the step's responsibilities (log r, temperature 1), balanced over the prototypes by
 * Sinkhorn-Knopp, by centering, or by nothing.
 */
export function createTargets(config: TargetsConfig): Targets {
  const scores = config.from === "similarity" ? similarities(config) : logResponsibilities;
  const centering = config.balance === "center" ? new Centering() : undefined;
  return {
    of: (h, plugin, result, clock) => {
      const { x, temperature } = tf.tidy(() => scores(h, plugin, result, clock));
      try {
        if (centering) return centering.of(x, temperature);
        return tf.tidy(() => {
          const logits: tf.Tensor2D = tf.div(x, temperature);
          return config.balance === "sinkhorn" ? sinkhorn(logits) : tf.softmax(logits);
        });
      } finally {
        x.dispose();
      }
    },
    state: async () => centering?.state() ?? {},
    load: (state) => (centering ? centering.load(state) : checkSaved(state, {}, "targets without a center")),
    dispose: () => centering?.dispose(),
  };
}

function similarities(config: TargetsConfig) {
  const temperature = within(
    parseSchedule(config.temperature),
    "targets.temperature",
    "above 0",
    (value) => value > 0 && value < Infinity,
  );
  return (h: tf.Tensor2D, plugin: PrototypePlugin, _: StepResult, clock: Clock): Scores => ({
    x: tf.matMul(h, tf.transpose(plugin.prototypes())),
    temperature: temperature(clock),
  });
}

function logResponsibilities(_: tf.Tensor2D, __: PrototypePlugin, { responsibilities }: StepResult): Scores {
  return { x: tf.log(tf.maximum(responsibilities, LEAST_RESPONSIBILITY)), temperature: 1 };
}
