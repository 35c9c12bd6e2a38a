import type { Answer, Batch, Rows, Welcome } from "../bridge/room.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type { Clock } from "../schedules/schedule.ts";
import type { Device } from "./device.ts";
import type { PrototypesInUse } from "./mixture.ts";
import type { Placement } from "./placement.ts";

/** The result of a step. */
export interface EdgeAnswer extends Pick<Answer, "rows" | "targets" | "run"> {
  /** Scalars for the metrics. On a device they are those of the step before. */
  scalars: Record<string, number>;
  /** A row that was not finite or all zero, counted from 0 over all ranks. Its step has changed nothing. */
  bad?: { step: number; row: number };
  /** The state after the step, if it was requested and comes from a device. */
  saved?: Promise<NamedTensors>;
}

export interface EdgeStepOptions {
  /** Whether a checkpoint follows, so that the state after the step is read. Called as late as possible. */
  save?: () => boolean;
}

/**
 * The layer between the bridge and a mixture: it owns arrays or handles, validates input, and reads output.
 * There is one for each placement.
 */
export interface Edge {
  /**
   * Takes one step on the rows of all ranks, sent or announced.
   *
   * @throws BatchError or UserError; nothing has changed then
   */
  step(batch: Batch, clock: Clock, options?: EdgeStepOptions): Promise<EdgeAnswer>;
  /** The prototypes for a rank that joins, or a run that makes them. */
  welcome(): Promise<Pick<Welcome, "prototypes" | "run">>;
  /** The prototypes, K x D. */
  prototypes(): Promise<Rows>;
  /** See Mixture.prototypesInUse. */
  prototypesInUse(): Promise<PrototypesInUse>;
  state(): Promise<NamedTensors>;
  /** @throws UserError if the state does not fit; nothing has changed then */
  load(state: NamedTensors): void;
  /** Starts over from given prototypes, K x D. */
  restart(start: Rows): Promise<void>;
  dispose(): void;
  /** "host": ranks send their rows. "device": they keep them on their device and announce their number. */
  readonly placement: Placement;
  /** The ranks' device, if the mixture is computed there. The room forwards its messages. */
  readonly device?: Device | undefined;
}
