import { METHODS } from "../config/method.ts";
import type { Config } from "../config/schema.ts";
import { targetTemperature } from "../plugins/targets.ts";
import { type Clock, type OwnSchedules, parseSchedule } from "../schedules/schedule.ts";

/** A joint arm's prototypes stay at their start for so many steps, as DINO freezes its last layer in the first epoch. */
const JOINT_FROZEN_STEPS = 30;

/** The clock's values for every step, with those of the method. A rank computes none of them itself. */
export interface TrainingScalars extends Record<string, number> {
  /** Rate of AdamW: linear warm-up, then a cosine to 0. */
  lr: number;
  weightDecay: number;
  /** m of the teacher's moving average, theta_t <- m theta_t + (1 - m) theta_s: from train.momentum to 1 by a cosine. */
  momentum: number;
  teacherTemperature: number;
  studentTemperature: number;
  /** 1 while a joint arm's prototypes are held fixed, else 0. */
  freezePrototypes: number;
}

/** The schedules of a run as one function of the clock. */
export function trainingScalars(config: Config, schedules?: OwnSchedules): (clock: Clock) => TrainingScalars {
  const { method, plugin, train, targets } = config;
  const lr = parseSchedule({
    warmup: { steps: Math.max(1, train.warmup), from: 0, to: { cosine: { from: train.lr, to: 0 } } },
  });
  const momentum = parseSchedule({ cosine: { from: train.momentum, to: 1 } });
  const weightDecay = parseSchedule(train.weightDecay, schedules);
  const teacherTemperature = targetTemperature(targets, schedules);
  const own = METHODS[method].scalars?.(plugin.components);
  return (clock) => ({
    lr: lr(clock),
    weightDecay: weightDecay(clock),
    momentum: momentum(clock),
    teacherTemperature: teacherTemperature(clock),
    studentTemperature: train.studentTemperature,
    freezePrototypes: clock.step < JOINT_FROZEN_STEPS ? 1 : 0,
    ...own,
  });
}
