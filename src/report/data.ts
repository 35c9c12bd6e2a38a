import type { Vectors } from "../files/rows.ts";

/** Accuracies on the groups of a long-tailed set; null if no test image is in the group. */
export type GroupFigures = Record<"head" | "medium" | "tail", { knn: number | null; linear: number | null }>;

/** The final figures of an arm, as in summary.json; means over several seeds. */
export interface ArmFigures {
  knn: number;
  /** If the run was probed at its end. */
  linear?: number;
  /** If the training set is long-tailed. */
  groups?: GroupFigures;
  /** With a balanced version of a long-tailed training set as references. */
  balanced?: { knn: number; linear: number; groups?: GroupFigures };
  unique: Record<string, number>;
  used: number;
  /** If the run was evaluated with it. */
  distinctUsed?: Record<string, number>;
  perplexity: number;
  steps: number;
  seeds: readonly number[];
  /** 95 % intervals of the means, if there are at least two seeds. */
  interval?: {
    knn: [number, number];
    linear?: [number, number];
    distinctUsed?: Record<string, [number, number]>;
  };
  /** Time of training and evaluation of all seeds together. */
  seconds: number;
  /** k-NN of its own untrained encoder, if arms of several runs are compared. */
  untrained?: number;
}

/** The mean of paired differences, its 95 % interval, and the p-value of a two-sided test against 0. */
export interface PairedDifference {
  mean: number;
  interval: [number, number];
  p: number;
}

/** The figures of a run, as in summary.json. */
export interface Figures {
  untrained: { knn: number };
  arms: Record<string, ArmFigures>;
  /** Differences of each arm from the first one of its run, paired by seed. */
  differences?: {
    arms: [string, string];
    seeds: number[];
    knn: PairedDifference;
    linear?: PairedDifference;
  }[];
  failures?: { arm: string; seed: number; error: string }[];
  seconds: number;
}

/** The part of a line of metrics.jsonl that is drawn. docs/measures.md describes the measures. */
export interface Measurement {
  step: number;
  loss?: number | undefined;
  knn?: number | undefined;
  unique?: Record<string, number> | undefined;
  used?: number | undefined;
  distinctUsed?: Record<string, number> | undefined;
  perplexity?: number | undefined;
  online?: number | undefined;
  entropy?: number | undefined;
  spread?: number | undefined;
  effectiveRank?: number | undefined;
  embeddingRank?: number | undefined;
  alignment?: number | undefined;
  uniformity?: number | undefined;
  /** Measures that the plugin reports, by name. */
  scalars?: Readonly<Record<string, number>> | undefined;
}

/** Accuracies of both classifiers. */
export interface KnnAndLinear<T> {
  knn: T;
  linear: T;
}

/** Accuracies with frozen features and one set of references. */
export interface ProbeFigures {
  /** By k. */
  knn: Record<string, number>;
  linear: number;
  perClass: KnnAndLinear<(number | null)[]>;
  /** If the training set is long-tailed; null if no test image is in the group. */
  groups?: Record<"head" | "medium" | "tail", KnnAndLinear<number | null>> | undefined;
}

/** The output of `mixhead evaluate --json`. */
export interface Probe extends ProbeFigures {
  /** The same with a balanced version of a long-tailed training set as references. */
  balanced?: ProbeFigures | undefined;
}

/** The training images nearest to some of the prototypes. */
export interface NearestImages {
  /** The indices of the prototypes. */
  prototypes: readonly number[];
  /** P x 8 x S x S x 3, 0 to 255, the nearest first. */
  images: { shape: readonly number[]; data: ArrayLike<number> };
  /** Their classes, P x 8. */
  labels: ArrayLike<number>;
}

/** The data of one arm for the page. */
export interface ArmRecord {
  /** The name, as in `figures.arms`. */
  name: string;
  /** One training per seed. */
  trainings: readonly { seed: number; measurements: readonly Measurement[] }[];
  /** At the end of the first seed's training: K x D, rows of unit length. */
  prototypes: Vectors;
  /** Length K: the number of un-augmented training images that each prototype wins. */
  wins: ArrayLike<number>;
  /** S x D: teacher embeddings of test images, rows of unit length. */
  sample: Vectors;
  /** Empty if unknown. */
  classNames: readonly string[];
  /** Training images of each class; empty if unknown. */
  classCounts: readonly number[];
  /** One for each seed that was probed. */
  probes: readonly Probe[];
  nearest?: NearestImages | undefined;
}

/** A remark to read before the figures. */
export interface Remark {
  /** The arm that it concerns; null for the whole page. */
  arm: string | null;
  level: "failure" | "warning" | "note";
  text: string;
  /** The number of steps at the measurement. */
  step?: number | undefined;
}

/** The data of the page of one or several runs. */
export interface ReportData {
  /** "run" or "runs". */
  kind: string;
  title: string;
  figures: Figures;
  arms: readonly ArmRecord[];
  remarks: readonly Remark[];
  /** Folded texts at the bottom, in this order: the configuration, versions of packages, ... */
  details: readonly { title: string; text: string }[];
}
