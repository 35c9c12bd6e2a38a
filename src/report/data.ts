import type { Vectors } from "../files/rows.ts";
import type { ProbeFigures } from "./probe-figures.ts";
import type { ArmSummary, Summary } from "./summary.ts";

/** The figures of one run, or of several. */
export interface Figures extends Summary {
  arms: Record<string, ArmFigures>;
}

export interface ArmFigures extends ArmSummary {
  /** k-NN of its own untrained encoder, if arms of several runs are compared. */
  untrained?: number;
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
  probes: readonly ProbeFigures[];
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
