import type { Rows } from "../files/rows.ts";

/** What an arm reached: an entry of summary.json. Over several seeds, means. */
export interface ArmFigures {
  knn: number;
  unique: Record<string, number>;
  used: number;
  perplexity: number;
  steps: number;
  seeds: readonly number[];
  /** 95 % intervals of the means, where there are two seeds and more. */
  interval?: { knn: [number, number] };
  /** Training and evaluation of all seeds together. */
  seconds: number;
}

/** The figures of a run: what summary.json holds. */
export interface Figures {
  untrained: { knn: number };
  arms: Record<string, ArmFigures>;
  /** Paired over seeds: each arm less the first one. */
  differences?: {
    arms: [string, string];
    seeds: number[];
    knn: { mean: number; interval: [number, number]; p: number };
  }[];
  failures?: { arm: string; seed: number; error: string }[];
  seconds: number;
}

/** A line of metrics.jsonl: training lines have the loss, evaluation lines the measures. */
export interface Measurement {
  step: number;
  loss?: number | null | undefined;
  knn?: number | undefined;
  unique?: Record<string, number> | undefined;
  used?: number | undefined;
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
}

/** All that the page of a run shows. */
export interface ReportData {
  title: string;
  figures: Figures;
  arms: readonly ArmRecord[];
  /** Folded at the bottom, in this order: the configuration, versions of packages, ... */
  details: readonly { title: string; text: string }[];
}
