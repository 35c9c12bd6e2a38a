import { quantile } from "../metrics/quantile.ts";
import { type Axis, type CurvePoint, drawCurves, FIGURE } from "./curves.ts";
import type { ArmRecord, Measurement } from "./data.ts";
import { percent } from "./format.ts";

/** Where uniqueness is drawn against epsilon: evenly on a log scale from 0.005 to 1. */
export const EPSILON_GRID: readonly number[] = Array.from({ length: 30 }, (_, i) =>
  Number((0.005 * 200 ** (i / 29)).toPrecision(4)),
);

const STEP: Axis = { title: "training step" };
/** More points than this a curve are averaged in bins. */
const MOST_POINTS = 200;

/** k-NN accuracy at every evaluation, and the level of the untrained encoder. */
export function knnOverTraining(
  arms: readonly ArmRecord[],
  untrained: number,
  size = FIGURE,
): Promise<string> {
  return drawCurves(
    namesOf(arms),
    over(arms, ({ knn }) => knn),
    {
      x: STEP,
      y: { title: "k-NN accuracy", percent: true, fromZero: false },
      level: { y: untrained, name: `untrained encoder ${percent(untrained, 1)}` },
      size,
    },
  );
}

/** Uniqueness at one epsilon at every evaluation. */
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

/** Share of prototypes that win a training image, at every evaluation. */
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

/** The loss, averaged over bins of steps where there are many. */
export function lossOverTraining(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  return drawCurves(
    namesOf(arms),
    over(arms, ({ loss }) => loss ?? undefined),
    {
      x: STEP,
      y: { title: "loss", fromZero: false },
      size,
    },
  );
}

/** Uniqueness as a function of epsilon; `curves` maps an arm to [epsilon, share]. */
export function uniqueOverEpsilon(
  arms: readonly ArmRecord[],
  curves: ReadonlyMap<string, readonly (readonly [number, number])[]>,
  size = FIGURE,
): Promise<string> {
  const points = [...curves].flatMap(([arm, curve]) => curve.map(([x, y]) => ({ arm, seed: 0, x, y })));
  return drawCurves(namesOf(arms), points, {
    x: { title: "cosine distance that counts as different (log scale)", log: true },
    y: { title: "unique prototypes", domain: [0, 1], percent: true },
    size,
  });
}

/** For each distance, the share of prototypes whose nearest other one is closer. */
export function nearestDistances(
  arms: readonly ArmRecord[],
  nearest: ReadonlyMap<string, Float64Array>,
  size = FIGURE,
): Promise<string> {
  const points = [...nearest].flatMap(([arm, distances]) => {
    const sorted = distances.filter(Number.isFinite).sort();
    return Array.from({ length: MOST_POINTS + 1 }, (_, i) => {
      const y = i / MOST_POINTS;
      return { arm, seed: 0, x: quantile(sorted, y), y };
    }).filter(({ x }) => Number.isFinite(x));
  });
  return drawCurves(namesOf(arms), points, {
    x: { title: "cosine distance to the nearest other prototype" },
    y: { title: "share of prototypes", domain: [0, 1], percent: true },
    size,
  });
}

/** Wins of each prototype, the most used first, in multiples of an even share. */
export function winsByRank(arms: readonly ArmRecord[], size = FIGURE): Promise<string> {
  const points = arms.flatMap(({ name, wins }) => {
    const sorted = Array.from(wins).sort((a, b) => b - a);
    const even = sorted.reduce((sum, n) => sum + n, 0) / sorted.length;
    const won = sorted.filter((n) => n > 0);
    const every = Math.max(1, Math.floor(won.length / MOST_POINTS));
    return won
      .map((n, rank) => ({ arm: name, seed: 0, x: (rank + 1) / sorted.length, y: n / even }))
      .filter((_, rank) => rank % every === 0 || rank === won.length - 1);
  });
  return drawCurves(namesOf(arms), points, {
    x: { title: "prototypes, the most used first", domain: [0, 1], percent: true },
    y: { title: "images won, in even shares (log scale)", log: true },
    level: { y: 1, name: "an even share" },
    size,
  });
}

/** The curve of one measure for every arm and seed. */
function over(
  arms: readonly ArmRecord[],
  value: (measurement: Measurement) => number | undefined,
): CurvePoint[] {
  return arms.flatMap(({ name, trainings }) =>
    trainings.flatMap(({ seed, measurements }) => {
      const points = measurements.flatMap((measurement) => {
        const y = value(measurement);
        return y === undefined || !Number.isFinite(y) ? [] : [{ arm: name, seed, x: measurement.step, y }];
      });
      return binned(points);
    }),
  );
}

/** Means of x and y over bins of equally many points. */
function binned(points: CurvePoint[]): CurvePoint[] {
  const bin = Math.ceil(points.length / MOST_POINTS);
  if (bin <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / bin) }, (_, b) => {
    const part = points.slice(b * bin, (b + 1) * bin);
    const mean = (of: (point: CurvePoint) => number) => part.reduce((sum, p) => sum + of(p), 0) / part.length;
    return { arm: part[0]?.arm ?? "", seed: part[0]?.seed ?? 0, x: mean((p) => p.x), y: mean((p) => p.y) };
  });
}

function namesOf(arms: readonly ArmRecord[]): string[] {
  return arms.map(({ name }) => name);
}
