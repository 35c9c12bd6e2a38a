import type { NamedTensors } from "../files/tensors.ts";
import type { Tensor } from "./codec.ts";
import type { Run } from "./executor-run.ts";
import type { Command, FailureCode } from "./protocol.ts";

/** Rows of a matrix, row-major: `data` holds n * d numbers. */
export interface Rows {
  data: Float32Array;
  n: number;
  d: number;
}

/** What a rank sends when it joins. */
export interface Hello {
  run: string;
  mixture: string;
  rank: number;
  world: number;
  /** K and D as the rank knows them; 0: whatever the room has. */
  components: number;
  dim: number;
  /** The SHA-256 of the starting rows that the rank holds; "" if it holds none. */
  start: string;
  /** The settings that it asks for, as JSON; "": whatever the room has. */
  config: string;
  /** The hash of the rank's secret for the run; "": it has none. */
  secret: string;
  /** The version of the rank's kernels (KERNELS_VERSION) and their device; 0 and "": it can run none. */
  executor: number;
  device: string;
  /** The starting rows (K x D) that the rank holds. */
  prototypes?: Rows;
}

/** What a room tells a rank that joins. `step`: the next step that it expects. */
export interface Welcome {
  step: number;
  /** The run's configuration as JSON. */
  config: string;
  commands: Command[];
  prototypes?: Rows;
  /** Makes the starting prototypes on the device. The other ranks of the world execute it too. */
  run?: Run;
}

/** One step: the rows of all ranks in rank order, or none if the ranks need only the clock. */
export interface Batch {
  step: number;
  epoch: number;
  /** Finite rows, none all zero. They may be views of a received message: do not write to them. */
  rows?: Rows;
  /** Instead of `rows`: every rank's device holds the n rows of all ranks, in rank order, unchecked. */
  announced?: { n: number };
  /** What each rank measured in the previous step, in rank order. */
  scalars: Record<string, number>[];
  /** Rank 0's metrics: the vector that the last executed run named. */
  metrics?: Float32Array;
  /** Ranks whose metrics differ from rank 0's in any bit: their devices have diverged. */
  drifted?: number[];
}

/**
 * A room's answer to a step. The arrays are sent without a copy and kept until the next answer: make new ones for
 * every step.
 */
export interface Answer {
  /** The clock's values by name. */
  scalars: Record<string, number>;
  /** Every rank carries them out, in order, after the optimizer's step. */
  commands: Command[];
  /** Prototype rows that the step changed: R x d with their indices, or all rows without indices. */
  rows?: { indices?: Int32Array; data: Float32Array; d: number };
  /** A target row for each row of the batch, n x k. */
  targets?: { n: number; k: number; data: Float32Array };
  /** Every rank executes it when it gets the answer. */
  run?: Run;
}

/** The result of a command in one rank. */
export interface RankResult {
  rank: number;
  command: Command;
  /** Steps taken so far. */
  step: number;
  scalars: Record<string, number>;
  text: Record<string, string>;
  tensors: Record<string, Tensor>;
}

/** A run that failed on a rank and changed nothing there. */
export interface RunFailure {
  seq: number;
  /** The index of the instruction that failed; -1: none of them. */
  at: number;
  code: FailureCode;
  message: string;
}

/** Computes the steps of a training. */
interface Stepping {
  /**
   * Takes a step on the rows of all ranks. It changes everything or nothing. What it throws is sent to the ranks as an
   * error: a BatchError with its own code, its row counted in the rows of the rank at fault; anything else with code
   * "plugin".
   */
  step(batch: Batch): Promise<Answer>;
}

/** Gives the ranks commands. */
interface Commanding {
  /** A rank has carried out a command. The next step waits for this call. */
  result(result: RankResult): void | Promise<void>;
}

/** Has ranks that do nothing but train, so that one that sends nothing for long hangs. */
interface Watching {
  /** A rank hangs in a step or a command; `lost` is called next. */
  late(rank: number, why: string): void;
}

/** Has a state that ranks save with their own checkpoints. */
interface Saving {
  /** The whole state. */
  state(): Promise<NamedTensors>;
}

/** Continues from a state that a rank has saved. */
interface Loading {
  /** `step`: the number of steps taken. Throws RejectError or UserError, and changes nothing, if the state does not fit. */
  load(step: number, state: NamedTensors): Promise<void>;
}

/** Executes runs on the ranks' devices. */
interface Executing {
  /**
   * A world forms, whose devices are empty. `send` has all its ranks execute a run now, during a step or between
   * steps; a rank that joins later gets the runs that it has missed before its welcome. The `send` of an earlier world
   * no longer has an effect.
   */
  attach(send: (run: Run) => void): void;
  /** The values that a run read, in the order of its `reads`. Called at once, since a step may wait for them. */
  values(seq: number, tensors: Tensor[]): void;
  /**
   * A rank could not execute a run. Called at once. If the run came with the answer to a step, a single rank may send
   * this step again; several ranks have diverged. Returns the message for the ranks that wait; undefined: the rank's
   * own message.
   */
  failed(rank: number, failure: RunFailure): string | undefined;
}

/**
 * One mixture of one run, as the bridge sees it. A room implements only the parts above that it needs. Without `step` or
 * `load` the bridge refuses that request; without `state` it sends an empty one. It calls `welcome`, `step`, `result`,
 * `state` and `load` one at a time.
 */
export interface Room
  extends Partial<Stepping>,
    Partial<Commanding>,
    Partial<Watching>,
    Partial<Saving>,
    Partial<Loading>,
    Partial<Executing> {
  /** K and D that hellos and embeddings must have; 0: not checked. */
  readonly components: number;
  readonly dim: number;
  /** The hash of its run's secret, which every rank must have. "" or absent: none. */
  readonly secret?: string;
  /** A rank joins. Called for each rank, and after a `load`. May throw RejectError. */
  welcome(hello: Hello): Welcome | Promise<Welcome>;
  /** A rank was lost: it is dead, unreachable, or silent past the deadline. `owed`: names the result that it still owed. */
  lost(rank: number, why: string, owed?: string): void;
  /** A rank said goodbye; an empty reason is a regular end. */
  left(rank: number, reason: string): void;
  /** The hello that opened this room was refused, and no rank is in it. */
  empty?(): void;
}
