/** A point of one seed's curve. */
export interface XY {
  x: number;
  y: number;
}

/** The mean of several seeds' curves at one x, and its 95 % interval if at least two have a value there. */
export interface MeanPoint extends XY {
  low?: number;
  high?: number;
}

/**
 * The mean of curves, one per seed, at every x of any of them. If there are more than `most`, they are grouped into
 * bins with equally many x. `reach`: `reachOf` of src/metrics/student.ts, passed in because browsers lack it.
 */
export function overSeeds(
  curves: readonly (readonly XY[])[],
  most: number,
  reach: (n: number) => number,
): MeanPoint[] {
  const places = [...new Set(curves.flatMap((curve) => curve.map(({ x }) => x)))].sort((a, b) => a - b);
  const width = Math.max(1, Math.ceil(places.length / most));
  const bins = Array.from({ length: Math.ceil(places.length / width) }, (_, bin) =>
    places.slice(bin * width, (bin + 1) * width),
  );
  const binOf = new Map(bins.flatMap((own, bin) => own.map((x) => [x, bin] as const)));
  const ofSeeds = curves.map((curve) => {
    const values: number[][] = bins.map(() => []);
    for (const { x, y } of curve) values[binOf.get(x) ?? 0]?.push(y);
    return values;
  });
  return bins.flatMap((own, bin) => {
    const values = ofSeeds.flatMap((seed) => (seed[bin]?.length ? mean(seed[bin]) : []));
    if (values.length === 0) return [];
    const y = mean(values);
    if (values.length < 2) return [{ x: mean(own), y }];
    const around = reach(values.length) * standardError(values, y);
    return [{ x: mean(own), y, low: y - around, high: y + around }];
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function standardError(values: readonly number[], centre: number): number {
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}
