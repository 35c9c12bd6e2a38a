import type { Warning } from "../experiment/diagnostics.ts";

/**
 * The server-sent events of the live page: `run` has all small facts and is sent whenever one changes; `points` has new
 * points of the curves. Every connection starts with both in full.
 */

/** waiting: nothing was measured yet. stopped: nobody trains it, and it is not complete. */
export type State = "waiting" | "running" | "stopped" | "failed" | "complete";

/** The newest of each; means over several seeds. null if not measured yet. */
export interface Figures {
  loss: number | null;
  knn: number | null;
  distinctUsed5: number | null;
  unique5: number | null;
  used: number | null;
}

export interface ArmState {
  name: string;
  state: State;
  /** Trainings of this arm, one per seed; and sums of their steps, taken and in all. */
  seeds: number;
  step: number;
  steps: number;
  /** null if it is not running, or if it is too early to estimate. */
  secondsLeft: number | null;
  figures: Figures;
  warnings: Warning[];
  /** Why trainings of this arm failed, a sentence each. */
  failures: string[];
}

export interface RunState {
  name: string;
  state: State;
  secondsLeft: number | null;
  /** How to resume a stopped run: a command, or a sentence. */
  wayOn: string;
  /** k-NN accuracy of the untrained encoder. */
  untrained: number | null;
  arms: ArmState[];
  /** The trainings that `Points.training` counts: their arm. */
  trainings: string[];
  /** At n: how many standard errors the 95 % interval of a mean of n seeds reaches; null if there is none. */
  reach: (number | null)[];
  /** Lines of metrics files that were passed over. */
  unreadable: number;
}

/** A measurement, as far as the page draws it. */
export interface Point {
  step: number;
  loss?: number | undefined;
  spread?: number | undefined;
  entropy?: number | undefined;
  knn?: number | undefined;
  online?: number | undefined;
  distinctUsed5?: number | undefined;
  unique25?: number | undefined;
  unique5?: number | undefined;
  used?: number | undefined;
  /** The plugin's own scalars, by name. */
  scalars?: Readonly<Record<string, number>> | undefined;
}

/** Replaces the points of a training from the index `from` on. */
export interface Points {
  training: number;
  from: number;
  points: Point[];
}
