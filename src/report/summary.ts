/** Accuracies of both classifiers on the groups of a long-tailed set; null if no test image is in the group. */
export type GroupFigures = Record<"head" | "medium" | "tail", { knn: number | null; linear: number | null }>;

/** What a probe adds to the figures of a training and, as means, to those of an arm. k-NN is at k = 20. */
export interface Probed {
  linear: number;
  /** If the training set is long-tailed. */
  groups?: GroupFigures;
  /** With a balanced version of a long-tailed training set as references. */
  balanced?: { knn: number; linear: number; groups?: GroupFigures };
}

/** The final figures of an arm: means over its seeds. Includes those of the probe if every seed was probed. */
export interface ArmSummary extends Partial<Probed> {
  knn: number;
  unique: Record<string, number>;
  used: number;
  /** If every seed was evaluated with it; earlier versions did not measure it. */
  distinctUsed?: Record<string, number>;
  perplexity: number;
  steps: number;
  seeds: number[];
  /** 95 % intervals of the means, if there are at least two seeds. */
  interval?: {
    knn: [number, number];
    linear?: [number, number];
    distinctUsed?: Record<string, [number, number]>;
  };
  /** Time of training and evaluation of all seeds together. */
  seconds: number;
}

/** Student's paired t-test of the differences a - b against a mean of 0, with n - 1 degrees of freedom. */
export interface PairedTest {
  /** Mean of the differences. */
  mean: number;
  /** The 95 % interval of the mean. */
  interval: [number, number];
  /** Two-sided. */
  p: number;
}

/** The difference of an arm from the first one, over the seeds that both have finished. */
export interface Difference {
  /** The difference is the first less the second. */
  arms: [string, string];
  seeds: number[];
  knn: PairedTest;
  /** If all of these seeds were probed in both arms. */
  linear?: PairedTest;
}

/** A failed training, and the reason in one sentence. */
export interface Failure {
  arm: string;
  seed: number;
  error: string;
}

/** The content of summary.json. */
export interface Summary {
  untrained: { knn: number };
  arms: Record<string, ArmSummary>;
  /** Of each arm from the first one, if they have at least two seeds in common. */
  differences?: Difference[];
  /** The other figures exclude these trainings. */
  failures?: Failure[];
  /** Time from the first step of the run to its last, without set-up. */
  seconds: number;
}
