import type { Warning } from "../experiment/diagnostics.ts";

/**
 * What the server tells the page, as two kinds of server-sent events: `run`, the small facts, whole
 * whenever one changes; and `points`, what the curves are drawn from. Every connection starts with all.
 */

/** waiting: nothing was measured yet. stopped: nobody trains it, and it is not complete. */
export type State = "waiting" | "running" | "stopped" | "failed" | "complete";

/** The newest of each; over several seeds, means. null where nothing was measured yet. */
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
  /** null where it is not under way, or too young to tell. */
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
  /** How it goes on where it stopped: a command, or what to do. */
  wayOn: string;
  /** k-NN accuracy of the untrained encoder. */
  untrained: number | null;
  arms: ArmState[];
  /** The trainings that `Points.training` counts: their arm. */
  trainings: string[];
  /** At n: how many standard errors the 95 % interval of a mean of n seeds reaches; null where there is none. */
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
  /** What the plugin tells of itself, by name. */
  scalars?: Readonly<Record<string, number>> | undefined;
}

/** The points of a training from the index `from` on are these: what it had there is no more. */
export interface Points {
  training: number;
  from: number;
  points: Point[];
}
