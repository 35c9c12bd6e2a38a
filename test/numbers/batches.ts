import { generator } from "../../src/plugins/random.ts";

/** Rows of a batch, finite and none all zero, of any length. */
type Kind = (rows: number, dim: number, uniform: () => number, step: number) => number[][];

/** The ends of float16: the largest number, the least normal and the least of all. */
const FLOAT16 = [65504, 2 ** -14, 2 ** -24] as const;

const times = <T>(count: number, make: (at: number) => T): T[] =>
  Array.from({ length: count }, (_, at) => make(at));
const row = (dim: number, uniform: () => number) => times(dim, () => uniform() - 0.5);
const axis = (dim: number, at: number, value = 1) => times(dim, (d) => (d === at % dim ? value : 0));
const pick = <T>(from: readonly T[], uniform: () => number): T | undefined =>
  from[Math.floor(uniform() * from.length)];
const sign = (uniform: () => number) => (uniform() < 0.5 ? -1 : 1);
/** A ratio of two of these has no mean and no variance. */
const cauchy = (uniform: () => number) => Math.tan(Math.PI * (uniform() - 0.5));

/** Batches that an encoder could send, and that break a careless mixture. */
const kinds: Record<string, Kind> = {
  ordinary: (n, dim, uniform) => times(n, () => row(dim, uniform)),
  constant: (n, dim) => times(n, () => times(dim, (d) => d + 1)),
  duplicated: (n, dim, uniform) => {
    const few = times(2, () => row(dim, uniform));
    return times(n, (i) => few[i % 2] ?? []);
  },
  "one-hot": (n, dim, uniform) => times(n, () => axis(dim, Math.floor(uniform() * dim), sign(uniform))),
  "one axis after the other": (n, dim, _, step) => times(n, () => axis(dim, step)),
  "clusters by turns": (n, dim, uniform, step) =>
    times(n, () => row(dim, uniform).map((value, d) => 1e-3 * value + (d % 2 === step % 2 ? 1 : -1))),
  "heavy-tailed": (n, dim, uniform) => times(n, () => times(dim, () => cauchy(uniform) ** 3 + 1e-9)),
  "float16's ends": (n, dim, uniform) =>
    times(n, () => times(dim, () => sign(uniform) * (pick(FLOAT16, uniform) ?? 1))),
  antipodal: (n, dim, uniform) => {
    const one = row(dim, uniform);
    return times(n, (i) => one.map((value) => (i % 2 === 0 ? value : -value)));
  },
  "tiny norms": (n, dim, uniform) =>
    times(n, () => axis(dim, 0, 2e-38).map((value) => value + uniform() * 2e-38)),
  "huge norms": (n, dim, uniform) => times(n, () => times(dim, () => sign(uniform) * 1e38 * (1 + uniform()))),
  "a hair apart": (n, dim, uniform) => times(n, () => times(dim, () => 1 + 1e-7 * uniform())),
};

/** The most steps that one kind lasts: longer than most components remember, so that each leaves its mark. */
const LONGEST = 96;

export interface HardBatch {
  kind: string;
  rows: number[][];
}

/** Batches without an end: each kind for a while, 1 to `most` rows each. The same for the same seed. */
export function* hardBatches(seed: number, dim: number, most: number): Generator<HardBatch, never> {
  const uniform = generator(seed, "hard batches");
  const all = Object.entries(kinds);
  for (let step = 0; ; ) {
    const [kind, make] = pick(all, uniform) ?? all[0] ?? ["", () => []];
    for (let left = Math.ceil(LONGEST * uniform() ** 2); left > 0; left--, step++) {
      yield { kind, rows: make(Math.ceil(most * uniform()), dim, uniform, step) };
    }
  }
}
