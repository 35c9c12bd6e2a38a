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

/**
 * One mixture of one run, as the bridge sees it. The server calls `welcome`, `step`, `state` and
 * `load` one at a time, never two at once.
 *
 * What `step` throws reaches the ranks as an error: a BatchError with its own code, and a row that
 * is counted in the blamed rank's own rows; anything else with code "plugin". `step` changes
 * everything or nothing.
 */
export interface Room {
  /** K and D that hello and embeddings are held to; 0: not checked. */
  readonly components: number;
  readonly dim: number;
  /** The hash of the secret that its run was begun with: whoever does not have that stays outside. "" or absent: none. */
  readonly secret?: string;
  /** A rank joins. Called for each rank, and after a `load`. May throw RejectError. */
  welcome(hello: Hello): Welcome | Promise<Welcome>;
  step(batch: Batch): Promise<Answer>;
  /** A rank carried a command out. A step that follows waits for it. */
  result(result: RankResult): void | Promise<void>;
  /** The whole state, for a checkpoint that a rank keeps. */
  state(): Promise<NamedTensors>;
  /** Goes on from a saved state; `step` steps were taken. Throws RejectError or UserError, and changes nothing, where it does not fit. */
  load(step: number, state: NamedTensors): Promise<void>;
  /**
   * A rank is gone without a word: dead, unreachable, or silent past the deadline. `owed`: the result that it had
   * still to send, in words.
   */
  lost(rank: number, why: string, owed?: string): void;
  /** A rank said goodbye; an empty reason is a regular end. */
  left(rank: number, reason: string): void;
  /** The hello that opened this room was refused, and nobody is in it. */
  empty?(): void;
  /**
   * A world forms: its ranks' devices are empty. `send` has all of them carry out a run now, in the middle of
   * a step or outside of one; a rank that joins later gets the runs that it has missed before its welcome.
   * What an earlier `attach` gave reaches nobody any more.
   */
  attach?(send: (run: Run) => void): void;
  /** What a run read, in the order of its `reads`. Called at once: a step under way may wait for it. */
  values?(seq: number, tensors: Tensor[]): void;
  /**
   * A rank could not carry out a run. Called at once. If the run came with the answer to a step, a rank alone
   * in its world may send this step again; with others, the world has come apart. Gives the sentence for the
   * ranks that wait; the rank's own where it gives none.
   */
  failed?(rank: number, failure: RunFailure): string | undefined;
}
