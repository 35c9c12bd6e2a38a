import type { Rows } from "../files/rows.ts";

/** Shares of the test images of a long-tailed set's groups; null: none is of the group. */
export type GroupFigures = Record<"head" | "medium" | "tail", { knn: number | null; linear: number | null }>;

/** What an arm reached: an entry of summary.json. Over several seeds, means. */
export interface ArmFigures {
  knn: number;
  /** Of runs that were probed at their end. */
  linear?: number;
  /** Where the training set is long-tailed. */
  groups?: GroupFigures;
  /** With a balanced version of it as references. */
  balanced?: { knn: number; linear: number; groups?: GroupFigures };
  unique: Record<string, number>;
  used: number;
  /** Of runs that were evaluated with it. */
  distinctUsed?: Record<string, number>;
  perplexity: number;
  steps: number;
  seeds: readonly number[];
  /** 95 % intervals of the means, where there are two seeds and more. */
  interval?: {
    knn: [number, number];
    linear?: [number, number];
    distinctUsed?: Record<string, [number, number]>;
  };
  /** Training and evaluation of all seeds together. */
  seconds: number;
  /** k-NN of its own untrained encoder, where arms of several runs stand side by side. */
  untrained?: number;
}

/** A mean of differences, its 95 % interval, and the chance of one so large where there is none. */
export interface PairedDifference {
  mean: number;
  interval: [number, number];
  p: number;
}

/** The figures of a run: what summary.json holds. */
export interface Figures {
  untrained: { knn: number };
  arms: Record<string, ArmFigures>;
  /** Paired over seeds: each arm less the first one of its run. */
  differences?: {
    arms: [string, string];
    seeds: number[];
    knn: PairedDifference;
    linear?: PairedDifference;
  }[];
  failures?: { arm: string; seed: number; error: string }[];
  seconds: number;
}

/** A line of metrics.jsonl, as far as it is drawn; docs/measures.md says what each is. */
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
  /** What the plugin tells of itself, by name. */
  scalars?: Readonly<Record<string, number>> | undefined;
}

/** Shares of test images; null where no test image is of the class or group. */
export interface KnnAndLinear<T> {
  knn: T;
  linear: T;
}

/** What frozen features give, with one set of references. */
export interface ProbeFigures {
  /** By k. */
  knn: Record<string, number>;
  linear: number;
  perClass: KnnAndLinear<(number | null)[]>;
  /** Where the training set is long-tailed. */
  groups?: Record<"head" | "medium" | "tail", KnnAndLinear<number | null>> | undefined;
}

/** What `mixhead evaluate --json` prints. */
export interface Probe extends ProbeFigures {
  /** The same with a balanced version of a long-tailed training set as references. */
  balanced?: ProbeFigures | undefined;
}

/** The training images nearest to some of the prototypes. */
export interface NearestImages {
  /** Which prototypes they are: their rows. */
  prototypes: readonly number[];
  /** P x 8 x S x S x 3, 0 to 255, the nearest first. */
  images: { shape: readonly number[]; data: ArrayLike<number> };
  /** Their classes, P x 8. */
  labels: ArrayLike<number>;
}

/** What the page draws of one arm. */
export interface ArmRecord {
  /** As in `figures.arms`. */
  name: string;
  /** One training per seed. */
  trainings: readonly { seed: number; measurements: readonly Measurement[] }[];
  /** At the end of the first seed's training: K x D, rows of unit length. */
  prototypes: Rows;
  /** Length K: how many un-augmented training images each prototype wins. */
  wins: ArrayLike<number>;
  /** S x D: teacher embeddings of test images, rows of unit length. */
  sample: Rows;
  /** Empty where they are not known. */
  classNames: readonly string[];
  /** Training images of each class; empty where they are not known. */
  classCounts: readonly number[];
  /** Of the seeds that were probed. */
  probes: readonly Probe[];
  nearest?: NearestImages | undefined;
}

/** Something to know before one reads the figures. */
export interface Remark {
  /** null: of the whole page. */
  arm: string | null;
  level: "failure" | "warning" | "note";
  text: string;
  /** Steps taken when it was measured. */
  step?: number | undefined;
}

/** All that the page of a run, or of several, shows. */
export interface ReportData {
  /** What it is the page of: "run", "runs". */
  kind: string;
  title: string;
  figures: Figures;
  arms: readonly ArmRecord[];
  remarks: readonly Remark[];
  /** Folded at the bottom, in this order: the configuration, versions of packages, ... */
  details: readonly { title: string; text: string }[];
}
