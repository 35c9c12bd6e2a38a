import type { Batch } from "../bridge/room.ts";
import type { Edge, EdgeAnswer, EdgeStepOptions } from "../mixture/edge.ts";
import type { Clock } from "../schedules/schedule.ts";

/** What answers the steps of a training: the edge of its mixture, or a loop of the user's around one. */
export interface Answerer extends Omit<Edge, "prototypesInUse"> {
  step(batch: Batch, clock: Clock, options?: EdgeStepOptions): Promise<StepAnswer>;
}

export interface StepAnswer extends EdgeAnswer {
  /** Values of the clock that take the place of the schedules'. */
  clock?: Record<string, number>;
}
