import type * as tf from "@tensorflow/tfjs-core";
import type { Clock } from "../schedules/schedule.ts";

/** Tensors by name, as they are saved to a checkpoint: float32, row-major. */
export type NamedTensors = Record<string, { shape: number[]; data: Float32Array }>;

/** What one step of a plugin did. */
export interface StepResult {
  /**
   * N x K, rows that sum to 1: how much of each embedding each component answers for, computed
   * with the prototypes as they were before the step. The caller disposes of it.
   */
  responsibilities: tf.Tensor2D;
  /** Indices of the prototypes that the step changed, ascending; "all" where it may have changed any. */
  touched: Int32Array | "all";
  /** What the plugin wants in the run's metrics, by name (for online-gmm: beta, entropy). */
  scalars: Record<string, number>;
}

/**
 * K prototypes on the unit sphere of R^D, estimated from embedding batches outside the encoder's
 * loss. A plugin knows nothing of sockets, runs or files.
 *
 * A step changes everything or nothing: where it throws, the plugin is as it was before.
 */
export interface PrototypePlugin {
  /** The name in records and reports, such as "online-gmm". */
  readonly name: string;
  /** K. */
  readonly components: number;
  /** D. */
  readonly dim: number;
  /** Estimates the prototypes from `h`, N x D, finite rows of unit length. `h` stays the caller's. */
  step(h: tf.Tensor2D, clock: Clock): Promise<StepResult>;
  /**
   * The same step, not taken yet; see Proposal. Left out by plugins that can only take it. It reads no
   * tensor where the plugin was made for a device.
   */
  propose?(h: tf.Tensor2D, clock: Clock, wanted?: Wanted): Promise<Proposal>;
  /**
   * What the student is to predict for the rows of `h` (N x D), of which a step was just taken: N x K, rows that sum
   * to 1. Asked for where `targets.from` is `plugin`, and nobody changes them. The caller disposes of it.
   */
  targets?(h: tf.Tensor2D, clock: Clock): tf.Tensor2D | Promise<tf.Tensor2D>;
  /** K x D, rows of unit length: c_k as the encoder sees it. The plugin's own tensor, valid until the next step. */
  prototypes(): tf.Tensor2D;
  /**
   * What was estimated, by name, for a file that others read: `prototypes` (K x D), and, where the
   * plugin has them, `means` (K x D), `counts` (K), `weights` (K) and `variances` (K, or K x D).
   */
  parameters(): Promise<NamedTensors>;
  /** All that a later `load` needs to go on bit for bit. */
  state(): Promise<NamedTensors>;
  /** Goes back to a saved state. Throws UserError, and changes nothing, where names or shapes do not fit. */
  load(state: NamedTensors): void;
  /** Frees the plugin's tensors. */
  dispose(): void;
}

/** What costs an N x K tensor, or a pass over one, and is made only where somebody wants it. */
export interface Wanted {
  responsibilities?: boolean;
  winners?: boolean;
}

/**
 * A step that is computed and not taken: nothing has changed. Call `adopt` or `discard`, once. What it
 * made besides the plugin's next state (responsibilities, winners, scalars) is the caller's to dispose of.
 */
export interface Proposal {
  /** K x D, as they are after the step. The plugin's own. */
  prototypes: tf.Tensor2D;
  /** N x K, where they were wanted. */
  responsibilities?: tf.Tensor2D;
  /** K: 1 for each component that answers for most of at least one row, else 0; where they were wanted. */
  winners?: tf.Tensor1D;
  /** Indices of the prototypes that the step changes, ascending; "all" where it may change any. */
  touched: Int32Array | "all";
  /** For the metrics. A tensor among them that is not finite says that the step must not be taken. */
  scalars: Record<string, number | tf.Scalar>;
  /**
   * Whether `adopt` may be given `ok`. Not where the step changes more than tensors; it is adopted, then, once
   * its scalars are known to be finite.
   */
  guarded: boolean;
  /** Takes the step. With `ok`, a bool: where it is false, every tensor keeps its value. */
  adopt(ok?: tf.Scalar): void;
  /** Leaves the plugin as it is, and frees the next state. */
  discard(): void;
}
