import type { NearestImages } from "../../src/report/data.ts";
import type { ClassifierFigures, ProbeFigures } from "../../src/report/probe-figures.ts";

/** What a probe of frozen features would find: accuracies that fall towards the classes with fewest images. */
export function inventedProbe(normal: () => number, classes: number, longTailed: boolean): ProbeFigures {
  const figures = (lift: number): ClassifierFigures => {
    const accuracy = (rank: number, base: number) =>
      Math.min(
        1,
        Math.max(
          0,
          base + lift * (rank / classes) - (longTailed ? 0.5 : 0.1) * (rank / classes) + 0.06 * normal(),
        ),
      );
    const knn = Array.from({ length: classes }, (_, rank) => accuracy(rank, 0.6));
    // Of the last class of a long tail there may be no test image.
    const linear = knn.map((share, rank) =>
      longTailed && rank === classes - 1 ? null : Math.min(1, share + 0.08),
    );
    const third = Math.ceil(classes / 3);
    const of = (shares: readonly (number | null)[], from: number, to: number) => {
      const known = shares.slice(from, to).filter((share) => share !== null);
      return known.reduce((sum, share) => sum + share, 0) / known.length;
    };
    const group = (from: number, to: number) => ({ knn: of(knn, from, to), linear: of(linear, from, to) });
    return {
      knn: { "10": 0.52, "20": 0.53, "100": 0.51, "200": 0.5 },
      linear: 0.6 + 0.01 * normal(),
      linearRate: 0.1,
      perClass: { knn, linear },
      ...(longTailed && {
        groups: { head: group(0, third), medium: group(third, 2 * third), tail: group(2 * third, classes) },
      }),
    };
  };
  return { ...figures(0), ...(longTailed && { balanced: figures(0.3) }) };
}

/** Pictures of two colours that turn from image to image, `side` pixels wide. */
export function inventedNearest(K: number, classes: number, side = 32): NearestImages {
  const prototypes = Array.from({ length: 12 }, (_, i) => K - 1 - 37 * i);
  const shape = [prototypes.length, 8, side, side, 3];
  const data = new Float32Array(shape.reduce((size, length) => size * length, 1));
  for (let at = 0; at < data.length; at++) {
    const [channel, x] = [at % 3, Math.floor(at / 3) % side];
    const y = Math.floor(at / 3 / side) % side;
    const image = Math.floor(at / 3 / side / side);
    const inside = Math.hypot(x - side / 2, y - side / 2) < side * (0.2 + 0.02 * (image % 8));
    data[at] = (inside ? 230 - 60 * channel : 40 + 50 * channel + 6 * Math.floor(image / 8)) % 256;
  }
  const labels = Float32Array.from(
    { length: 8 * prototypes.length },
    (_, i) => (Math.floor(i / 8) * 3) % classes,
  );
  return { prototypes, images: { shape, data }, labels };
}
