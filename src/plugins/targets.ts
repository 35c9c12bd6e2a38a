import * as tf from "@tensorflow/tfjs-core";
import type { TargetsConfig } from "../config/schema.ts";
import { type Clock, type OwnSchedules, parseSchedule, within } from "../schedules/schedule.ts";
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

/** 0 has no logarithm; what a cutoff has set to 0 is this small. */
const LEAST_RESPONSIBILITY = 1e-30;

/**
 * Targets from the similarities h . c / temperature, with the prototypes as the step has left them,
 * or from the step's responsibilities, as logits log r. They are balanced over the prototypes by
 * Sinkhorn-Knopp, by centering, or by nothing.
 *
 * @throws UserError where the temperature leaves what is allowed.
 */
export function createTargets(config: TargetsConfig, schedules?: OwnSchedules): Targets {
  const { from, balance } = config;
  const temperature = within(
    parseSchedule(config.temperature, schedules),
    "targets.temperature",
    "above 0",
    (value) => value > 0 && value < Infinity,
  );
  const centering = balance === "center" ? new Centering() : undefined;

  return {
    of: (h, plugin, { responsibilities }, clock) => {
      if (from === "responsibility" && balance === "none") return responsibilities.clone();
      const divisor = from === "similarity" ? temperature(clock) : 1;
      return tf.tidy(() => {
        const scores = (over: number) =>
          from === "similarity" ? similarities(tf.div(h, over), plugin) : logarithms(responsibilities);
        if (centering) return centering.of(scores(1), divisor);
        const logits = scores(divisor);
        return balance === "sinkhorn" ? sinkhorn(logits) : tf.softmax(logits);
      });
    },
    state: async () => centering?.state() ?? {},
    load: (state) => (centering ? centering.load(state) : checkSaved(state, {}, "a run without a center")),
    dispose: () => centering?.dispose(),
  };
}

function similarities(h: tf.Tensor2D, plugin: PrototypePlugin): tf.Tensor2D {
  return tf.matMul(h, tf.transpose(plugin.prototypes()));
}

function logarithms(responsibilities: tf.Tensor2D): tf.Tensor2D {
  return tf.log(tf.clipByValue(responsibilities, LEAST_RESPONSIBILITY, 1));
}
