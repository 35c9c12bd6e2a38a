import type { Answer, Batch, Rows, Welcome } from "../bridge/room.ts";
import type { NamedTensors } from "../plugins/plugin.ts";
import type { Clock } from "../schedules/schedule.ts";
import type { Device } from "./device.ts";
import type { PrototypesInUse } from "./mixture.ts";
import type { Placement } from "./placement.ts";

/** What an edge does with a step, as a room answers it. */
export interface EdgeAnswer extends Pick<Answer, "rows" | "targets" | "run"> {
  /** For the metrics. On a device they are those of the step before. */
  scalars: Record<string, number>;
  /** A row that was not finite or all zero, counted from 0 over all ranks; its step has changed nothing. */
  bad?: { step: number; row: number };
  /** The state after the step, where it was asked for and comes from a device. */
  saved?: Promise<NamedTensors>;
}

export interface EdgeStepOptions {
  /** Whether a checkpoint follows, for which the state after the step is read. Asked when that has to be known. */
  save?: () => boolean;
}

/**
 * What stands between the bridge and a mixture: it owns arrays or handles, validates what comes in, and
 * reads what goes out. There is one for each placement.
 */
export interface Edge {
  /**
   * Takes one step on the rows of all ranks, or on those that the ranks announce.
   *
   * @throws BatchError or UserError; nothing has changed then.
   */
  step(batch: Batch, clock: Clock, options?: EdgeStepOptions): Promise<EdgeAnswer>;
  /** What a rank that joins begins with. */
  welcome(): Promise<Pick<Welcome, "prototypes" | "run">>;
  /** The prototypes, K x D. */
  prototypes(): Promise<Rows>;
  /** See Mixture.prototypesInUse. */
  prototypesInUse(): Promise<PrototypesInUse>;
  state(): Promise<NamedTensors>;
  /** @throws UserError, and changes nothing, where the state does not fit. */
  load(state: NamedTensors): void;
  /** Begins anew at given prototypes, K x D. */
  restart(start: Rows): Promise<void>;
  dispose(): void;
  /** Whether ranks send their rows, or keep them on their device and announce how many there are. */
  readonly placement: Placement;
  /** The ranks' device, where the mixture is computed there: a room hands on what it hears of it. */
  readonly device?: Device | undefined;
}
