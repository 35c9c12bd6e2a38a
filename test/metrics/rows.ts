import type { Vectors } from "../../src/files/rows.ts";

/** A seeded stream of standard normal numbers (mulberry32, Box-Muller). */
export function normals(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

export function rowsOf(vectors: readonly (readonly number[])[]): Vectors {
  return { rows: vectors.length, dim: vectors[0]?.length ?? 0, data: Float32Array.from(vectors.flat()) };
}

export function vectorsOf({ rows, dim, data }: Vectors): number[][] {
  return Array.from({ length: rows }, (_, row) => Array.from(data.subarray(row * dim, (row + 1) * dim)));
}

/** K random directions, not of unit length, in `clusters` tight groups where it is given. */
export function randomRows(K: number, D: number, seed: number, clusters = K, spread = 0.15): Vectors {
  const normal = normals(seed);
  const centers = Array.from({ length: clusters }, () => Array.from({ length: D }, normal));
  return rowsOf(
    Array.from({ length: K }, (_, k) =>
      (centers[k % clusters] ?? []).map((x) => 3 * x + (clusters < K ? spread * 3 * normal() : 0)),
    ),
  );
}
