import { quantile } from "../metrics/quantile.ts";
import { reachOf } from "../metrics/student.ts";
import { type Axis, type CurvePoint, drawCurves, FIGURE } from "./curves.ts";
import type { ArmRecord, Measurement } from "./data.ts";
import { percent } from "./format.ts";
import { overSeeds } from "./over-seeds.ts";

/** The epsilons of curves over epsilon: evenly spaced on a log scale from 0.005 to 1. */
export const EPSILON_GRID: readonly number[] = Array.from({ length: 30 }, (_, i) =>
  Number((0.005 * 200 ** (i / 29)).toPrecision(4)),
);

const STEP: Axis = { title: "training step" };
/** If a curve has more points than this, they are averaged in bins, or thinned out. */
const MOST_POINTS = 200;

/** Draws k-NN accuracy at every evaluation, and the level of the untrained encoder if all arms have the same. */
export function knnOverTraining(
  arms: readonly ArmRecord[],
  untrained: number | null,
  size = FIGURE,
): Promise<string> {
  return drawCurves(
    namesOf(arms),
    over(arms, ({ knn }) => knn),
    {
      x: STEP,
      y: { title: "k-NN accuracy", percent: true, fromZero: false },
      ...(untrained !== null && {
        level: { y: untrained, name: `untrained encoder ${percent(untrained, 1)}` },
      }),
      size,
    },
  );
}

/**
 * Draws the share of used and distinct prototypes at one epsilon at every evaluation, and dashed uniqueness, which
 * counts unused ones as well. null if no arm was evaluated with it.
 */
export async function distinctUsedOverTraining(
  arms: readonly ArmRecord[],
  epsilon: string,
  size = FIGURE,
): Promise<string | null> {
  const points = over(arms, ({ distinctUsed }) => distinctUsed?.[epsilon]);
  if (points.length === 0) return null;
  return drawCurves(namesOf(arms), points, {
    x: STEP,
    y: {
      title: `distinct and used at ${epsilon}; dashed: unique`,
      domain: [0, 1],
      percent: true,
    },
    beside: over(arms, ({ unique }) => unique?.[epsilon]),
    size,
  });
}

/** Draws uniqueness at one epsilon at every evaluation. */
export function uniqueOverTraining(
  arms: readonly ArmRecord[],
  epsilon: string,
  size = FIGURE,
): Promise<string> {
  return drawCurves(
    namesOf(arms),
    over(arms, ({ unique }) => unique?.[epsilon]),
    {
      x: STEP,
      y: { title: `unique prototypes at distance ${epsilon}`, domain: [0, 1], percent: true },
      size,
    },
  );
}

/** Draws the share of prototypes that win a training image, at every evaluation. */
export function usedOverTraining(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  return drawCurves(
    namesOf(arms),
    over(arms, ({ used }) => used),
    {
      x: STEP,
      y: { title: "used prototypes", domain: [0, 1], percent: true },
      size,
    },
  );
}

/** Draws the loss over training. */
export function lossOverTraining(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  return drawCurves(
    namesOf(arms),
    over(arms, ({ loss }) => loss),
    {
      x: STEP,
      y: { title: "loss", fromZero: false },
      size,
    },
  );
}

/** A measure that is drawn over training if a run has it. */
export interface Measure {
  title: string;
  caption: string;
  value: (measurement: Measurement) => number | undefined;
  axis: Axis;
}

export const ONLINE: Measure = {
  title: "Online probe",
  caption:
    "Running accuracy of a linear classifier that is trained beside the encoder. It lags behind, and it sees crops.",
  value: ({ online }) => online,
  axis: { title: "accuracy", percent: true, fromZero: false },
};

/** The measures of embeddings and responsibilities. */
export const FURTHER: readonly Measure[] = [
  {
    title: "Effective rank of the prototypes",
    caption:
      "The number of directions over which the prototypes spread: 2 if they lie in one plane; copies do not raise it.",
    value: ({ effectiveRank }) => effectiveRank,
    axis: { title: "directions" },
  },
  {
    title: "Effective rank of the embeddings",
    caption:
      "The number of directions over which the teacher's embeddings of test images spread: 1 after a collapse.",
    value: ({ embeddingRank }) => embeddingRank,
    axis: { title: "directions" },
  },
  {
    title: "Spread of the embeddings",
    caption:
      "1 minus the length of their mean: 0 if all lie at one point, near 1 if they spread over the whole sphere.",
    value: ({ spread }) => spread,
    axis: { title: "spread of a batch", domain: [0, 1] },
  },
  {
    title: "Entropy of the responsibilities",
    caption:
      "How widely an embedding is shared among components, in nats; joint arms have no responsibilities.",
    value: ({ entropy }) => entropy,
    axis: { title: "entropy, in nats" },
  },
  {
    title: "Alignment",
    caption: "Mean squared distance between two views of one test image: lower is closer; a collapse has 0.",
    value: ({ alignment }) => alignment,
    axis: { title: "squared distance" },
  },
  {
    title: "Uniformity",
    caption: "How evenly the views fill the sphere: 0 if all lie at one point, near −4 if evenly.",
    value: ({ uniformity }) => uniformity,
    axis: { title: "log mean of exp(−2 d²)", fromZero: false },
  },
];

/** The measures that plugins report, by name. */
export function pluginMeasures(arms: readonly ArmRecord[]): Measure[] {
  const names = arms.flatMap(({ trainings }) =>
    trainings.flatMap(({ measurements }) => measurements.flatMap(({ scalars = {} }) => Object.keys(scalars))),
  );
  return [...new Set(names)].sort().map((name) => ({
    title: name,
    caption: "Reported by the plugin at its steps.",
    value: ({ scalars = {} }) => scalars[name],
    axis: { title: name, fromZero: false },
  }));
}

/** Draws a measure over training; null if no arm has it. */
export async function measureOverTraining(
  arms: readonly ArmRecord[],
  { value, axis }: Measure,
  size = FIGURE,
): Promise<string | null> {
  const points = over(arms, value);
  return points.length === 0 ? null : drawCurves(namesOf(arms), points, { x: STEP, y: axis, size });
}

/** By arm: [epsilon, share]. */
export type OverEpsilon = ReadonlyMap<string, readonly (readonly [number, number])[]>;

/** Draws the share of distinct and used prototypes over epsilon; dashed, that of all distinct ones. */
export function distinctUsedOverEpsilon(
  arms: readonly ArmRecord[],
  distinctUsed: OverEpsilon,
  unique: OverEpsilon,
  size = FIGURE,
): Promise<string> {
  const points = (curves: OverEpsilon) =>
    [...curves].flatMap(([arm, curve]) => curve.map(([x, y]) => ({ arm, x, y })));
  return drawCurves(namesOf(arms), points(distinctUsed), {
    x: { title: "cosine distance that counts as different (log scale)", log: true },
    y: { title: "distinct and used; dashed: unique", domain: [0, 1], percent: true },
    beside: points(unique),
    size,
  });
}

/** Draws, for each distance, the share of prototypes whose nearest neighbour is closer. */
export function nearestDistances(
  arms: readonly ArmRecord[],
  nearest: ReadonlyMap<string, Float64Array>,
  size = FIGURE,
): Promise<string> {
  const points = [...nearest].flatMap(([arm, distances]) => {
    const sorted = distances.filter(Number.isFinite).sort();
    return Array.from({ length: MOST_POINTS + 1 }, (_, i) => {
      const y = i / MOST_POINTS;
      return { arm, x: quantile(sorted, y), y };
    }).filter(({ x }) => Number.isFinite(x));
  });
  return drawCurves(namesOf(arms), points, {
    x: { title: "cosine distance to the nearest other prototype" },
    y: { title: "share of prototypes", domain: [0, 1], percent: true },
    size,
  });
}

/** Draws the wins of each prototype in decreasing order, in multiples of an even share. */
export function winsByRank(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  const points = arms.flatMap(({ name, wins }) => {
    const sorted = Array.from(wins).sort((a, b) => b - a);
    const even = sorted.reduce((sum, n) => sum + n, 0) / sorted.length;
    const won = sorted.filter((n) => n > 0);
    const every = Math.max(1, Math.floor(won.length / MOST_POINTS));
    return won
      .map((n, rank) => ({ arm: name, x: (rank + 1) / sorted.length, y: n / even }))
      .filter((_, rank) => rank % every === 0 || rank === won.length - 1);
  });
  return drawCurves(namesOf(arms), points, {
    x: { title: "prototypes, the most used first", domain: [0, 1], percent: true },
    y: { title: "images won, in even shares (log scale)", log: true },
    level: { y: 1, name: "an even share" },
    size,
  });
}

/** The mean of one measure over the seeds of each arm. */
function over(
  arms: readonly ArmRecord[],
  value: (measurement: Measurement) => number | undefined,
): CurvePoint[] {
  return arms.flatMap(({ name, trainings }) => {
    const curves = trainings.map(({ measurements }) =>
      measurements.flatMap((measurement) => {
        const y = value(measurement);
        return y === undefined || !Number.isFinite(y) ? [] : [{ x: measurement.step, y }];
      }),
    );
    return overSeeds(curves, MOST_POINTS, reachOf).map((point) => ({ arm: name, ...point }));
  });
}

function namesOf(arms: readonly ArmRecord[]): string[] {
  return arms.map(({ name }) => name);
}
