import type * as tf from "@tensorflow/tfjs-core";
import type { NamedTensors } from "../files/tensors.ts";
import type { Clock } from "../schedules/schedule.ts";

/** The result of one step of a plugin. */
export interface StepResult {
  /**
   * N x K, rows that sum to 1: the share of each embedding that each component is responsible for, by
   * the prototypes before the step. The caller disposes it.
   */
  responsibilities: tf.Tensor2D;
  /** Indices of the prototypes that the step changed, ascending; "all" if it may have changed any. */
  touched: Int32Array | "all";
  /** Scalars for the run's metrics, by name (for online-gmm: beta, entropy). */
  scalars: Record<string, number>;
}

/**
 * K prototypes on the unit sphere of R^D, estimated from batches of embeddings outside the encoder's
 * loss. A plugin is independent of sockets, runs and files.
 *
 * A step changes everything or nothing: if it throws, the plugin is unchanged.
 */
export interface PrototypePlugin {
  /** The name in records and reports, such as "online-gmm". */
  readonly name: string;
  /** K. */
  readonly components: number;
  /** D. */
  readonly dim: number;
  /** Updates the prototypes with `h`, N x D, finite rows of unit length. The caller disposes `h`. */
  step(h: tf.Tensor2D, clock: Clock): Promise<StepResult>;
  /**
   * Computes a step without adopting it; see Proposal. Optional. It reads no tensor if the plugin was
   * created for a device.
   */
  propose?(h: tf.Tensor2D, clock: Clock, wanted?: Wanted): Promise<Proposal>;
  /**
   * The student's targets for the rows of `h` (N x D), after a step with them: N x K, rows that sum to 1. Called if
   * `targets.from` is `plugin`; they are used unchanged. The caller disposes the result.
   */
  targets?(h: tf.Tensor2D, clock: Clock): tf.Tensor2D | Promise<tf.Tensor2D>;
  /** The prototypes, K x D, rows of unit length. The plugin owns the tensor, which is valid until the next step. */
  prototypes(): tf.Tensor2D;
  /**
   * The estimated parameters by name, for a file that other programs read: `prototypes` (K x D) and, if
   * the plugin has them, `means` (K x D), `counts` (K), `weights` (K) and `variances` (K, or K x D).
   */
  parameters(): Promise<NamedTensors>;
  /** Everything that a later `load` needs to continue bit for bit. */
  state(): Promise<NamedTensors>;
  /** Restores a saved state. @throws UserError if names or shapes do not fit; nothing has changed then */
  load(state: NamedTensors): void;
  /** Frees the plugin's tensors. */
  dispose(): void;
}

/** Results that cost an N x K tensor, or a pass over one, and are computed only on request. */
export interface Wanted {
  responsibilities?: boolean;
  winners?: boolean;
}

/**
 * A step that was computed but not adopted: nothing has changed. Call `adopt` or `discard` once. The caller disposes
 * responsibilities, winners and scalars.
 */
export interface Proposal {
  /** The prototypes after the step, K x D, owned by the plugin. */
  prototypes: tf.Tensor2D;
  /** N x K, if requested. */
  responsibilities?: tf.Tensor2D;
  /** K numbers, if requested: 1 for each component with the largest responsibility for at least one row, else 0. */
  winners?: tf.Tensor1D;
  /** Indices of the prototypes that the step changes, ascending; "all" if it may change any. */
  touched: Int32Array | "all";
  /** Scalars for the metrics. If a tensor among them is not finite, the step must not be adopted. */
  scalars: Record<string, number | tf.Scalar>;
  /**
   * Whether `adopt` accepts `ok`. False if the step changes more than tensors; then it is adopted once its scalars are
   * known to be finite.
   */
  guarded: boolean;
  /** Adopts the step. If `ok`, a bool, is false, every tensor keeps its value. */
  adopt(ok?: tf.Scalar): void;
  /** Leaves the plugin as it is, and frees the next state. */
  discard(): void;
}

/** Targets that were computed but not adopted; see Proposal. */
export interface TargetProposal {
  /** N x K, rows that sum to 1. The caller disposes them. */
  targets: tf.Tensor2D;
  /** Updates the state of the balance (a center, a memory). If `ok`, a bool, is false, nothing changes. */
  adopt(ok?: tf.Scalar): void;
  discard(): void;
}
