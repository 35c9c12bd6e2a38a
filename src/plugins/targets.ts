import * as tf from "@tensorflow/tfjs-core";
import type { TargetsConfig } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import {
  type Clock,
  type OwnSchedules,
  parseSchedule,
  type Schedule,
  within,
} from "../schedules/schedule.ts";
import { Centering } from "./centering.ts";
import type { NamedTensors, Proposal, PrototypePlugin } from "./plugin.ts";
import { RunningSinkhorn } from "./running-sinkhorn.ts";
import { checkSaved } from "./saved.ts";
import { sinkhorn } from "./sinkhorn.ts";

/** Targets that are made and not taken; see Proposal. */
export interface TargetProposal {
  /** N x K, rows that sum to 1. The caller's to dispose of. */
  targets: tf.Tensor2D;
  /** Moves what moves with a batch: a center, a memory. With `ok`, a bool: where it is false, nothing moves. */
  adopt(ok?: tf.Scalar): void;
  discard(): void;
}

/** What targets are made of, besides the batch. */
export type TargetSources = Pick<Proposal, "prototypes" | "responsibilities">;

/** What the student learns to predict: a distribution over the prototypes for each row of the batch. */
export interface Targets {
  /** Whether they are made of the step's responsibilities, and not of similarities to the prototypes after it. */
  readonly fromResponsibilities: boolean;
  /** @throws UserError where a schedule leaves what is allowed at this step; nothing has changed. */
  check(clock: Clock): void;
  /** Targets for the batch `h` (N x D), of which the plugin proposes a step. */
  propose(h: tf.Tensor2D, step: TargetSources, clock: Clock): TargetProposal | Promise<TargetProposal>;
  /** All that a later `load` needs to go on bit for bit. */
  state(): Promise<NamedTensors>;
  /** @throws UserError where the state does not fit. */
  checkState(state: NamedTensors): void;
  /** @throws UserError, and changes nothing, where the state does not fit. */
  load(state: NamedTensors): void;
  dispose(): void;
}

/** 0 has no logarithm; what a cutoff has set to 0 is this small. */
const LEAST_RESPONSIBILITY = 1e-30;

/**
 * Targets from the similarities h . c / temperature, with the prototypes as the step has left them,
 * or from the step's responsibilities, as logits log r. They are balanced over the prototypes by
 * Sinkhorn-Knopp (over the batch, or over earlier rows too), by centering, or by nothing.
 *
 * @throws UserError where the temperature leaves what is allowed.
 */
export function createTargets(config: TargetsConfig, schedules?: OwnSchedules): Targets {
  const { from, balance } = config;
  const temperature = targetTemperature(config, schedules);
  const moving = movingBalance(config);

  const checkState = (state: NamedTensors) =>
    moving ? moving.check(state) : checkSaved(state, {}, "a run whose balance remembers nothing");

  return {
    fromResponsibilities: from === "responsibility",
    check: (clock) => void temperature(clock),
    propose: (h, { prototypes, responsibilities }, clock) => {
      const divisor = from === "similarity" ? temperature(clock) : 1;
      const scores = (over: number): tf.Tensor2D => {
        if (from === "similarity") return tf.matMul(tf.div(h, over), tf.transpose(prototypes));
        if (responsibilities === undefined) throw new TypeError("the step kept no responsibilities");
        return tf.log(tf.clipByValue(responsibilities, LEAST_RESPONSIBILITY, 1));
      };
      if (from === "responsibility" && balance === "none" && responsibilities !== undefined)
        return plain(responsibilities.clone());
      if (moving) {
        const x = tf.tidy(() => scores(1));
        try {
          return moving.propose(x, divisor);
        } finally {
          x.dispose();
        }
      }
      return plain(
        tf.tidy(() => {
          const logits = scores(divisor);
          return balance === "sinkhorn" ? sinkhorn(logits) : tf.softmax(logits);
        }),
      );
    },
    state: async () => moving?.state() ?? {},
    checkState,
    load: (state) => (moving ? moving.load(state) : checkState(state)),
    dispose: () => moving?.dispose(),
  };
}

/** A balance that remembers something of the batches before; the others look at one batch. */
function movingBalance({ balance, memory }: TargetsConfig): Centering | RunningSinkhorn | undefined {
  if (balance === "center") return new Centering();
  return balance === "sinkhorn" && memory > 0 ? new RunningSinkhorn(memory) : undefined;
}

/**
 * Targets as the plugin makes them.
 *
 * @throws UserError where it makes none.
 */
export function ownTargets(plugin: PrototypePlugin): Targets {
  if (plugin.targets === undefined) {
    throw new UserError(
      `plugin "${plugin.name}" has no method targets, which targets.from=plugin asks for; allowed: similarity, responsibility`,
    );
  }
  const none = (state: NamedTensors) => checkSaved(state, {}, "a plugin with targets of its own");
  return {
    fromResponsibilities: false,
    check: () => {},
    propose: async (h, _step, clock) => {
      const targets = await plugin.targets?.(h, clock);
      if (targets === undefined) throw new TypeError("a plugin without targets");
      return plain(targets);
    },
    state: async () => ({}),
    checkState: none,
    load: none,
    dispose: () => {},
  };
}

function plain(targets: tf.Tensor2D): TargetProposal {
  return { targets, adopt: () => {}, discard: () => {} };
}

/** @throws UserError, when it is asked, where the schedule leaves what is allowed. */
export function targetTemperature({ temperature }: TargetsConfig, schedules?: OwnSchedules): Schedule {
  return within(
    parseSchedule(temperature, schedules),
    "targets.temperature",
    "above 0",
    (value) => value > 0 && value < Infinity,
  );
}
