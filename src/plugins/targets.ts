import * as tf from "@tensorflow/tfjs-core";
import type { TargetsConfig } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import {
  type Clock,
  type OwnSchedules,
  parseSchedule,
  type Schedule,
  within,
} from "../schedules/schedule.ts";
import { Centering } from "./centering.ts";
import type { Proposal, PrototypePlugin, TargetProposal } from "./plugin.ts";
import { RunningSinkhorn } from "./running-sinkhorn.ts";
import { checkSaved } from "./saved.ts";
import { sinkhorn } from "./sinkhorn.ts";

/** The inputs of targets besides the batch. */
type TargetSources = Pick<Proposal, "prototypes" | "responsibilities">;

/** Makes the student's targets: a distribution over the prototypes for each row of the batch. */
export interface Targets {
  /** Whether they come from the step's responsibilities instead of similarities to the prototypes after it. */
  readonly fromResponsibilities: boolean;
  /** @throws UserError if a schedule has a value that is not allowed at this step; nothing has changed then */
  check(clock: Clock): void;
  /** Computes targets for the batch `h` (N x D), with the plugin's proposed step. */
  propose(h: tf.Tensor2D, step: TargetSources, clock: Clock): TargetProposal | Promise<TargetProposal>;
  /** Everything that a later `load` needs to continue bit for bit. */
  state(): Promise<NamedTensors>;
  /** @throws UserError if the state does not fit */
  checkState(state: NamedTensors): void;
  /** @throws UserError if the state does not fit; nothing has changed then */
  load(state: NamedTensors): void;
  dispose(): void;
}

/** Replaces responsibilities that a cutoff has set to 0, since 0 has no logarithm. */
const LEAST_RESPONSIBILITY = 1e-30;

/**
 * Targets from the similarities h . c / temperature to the prototypes after the step, or from the
 * step's responsibilities, with logits log r. They are balanced over the prototypes by Sinkhorn-Knopp
 * (over the batch, or over earlier rows as well), by centering, or not at all.
 *
 * @throws UserError if the temperature is not allowed
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

/** The balance with a state from earlier batches; undefined for those that use one batch alone. */
function movingBalance({ balance, memory }: TargetsConfig): Centering | RunningSinkhorn | undefined {
  if (balance === "center") return new Centering();
  return balance === "sinkhorn" && memory > 0 ? new RunningSinkhorn(memory) : undefined;
}

/**
 * Targets that the plugin itself makes.
 *
 * @throws UserError if it makes none
 */
export function ownTargets(plugin: PrototypePlugin): Targets {
  if (plugin.targets === undefined) {
    throw new UserError(
      `plugin "${plugin.name}" has no method targets, which targets.from=plugin needs; allowed: similarity, responsibility`,
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

/** The temperature's schedule. @throws UserError if a value is not above 0, see `within` */
export function targetTemperature({ temperature }: TargetsConfig, schedules?: OwnSchedules): Schedule {
  return within(
    parseSchedule(temperature, schedules),
    "targets.temperature",
    "above 0",
    (value) => value > 0 && value < Infinity,
  );
}
