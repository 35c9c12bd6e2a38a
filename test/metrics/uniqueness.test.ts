import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-wasm";
import type { Vectors } from "../../src/files/rows.ts";
import { EPSILONS, geometry, geometryInUse, uniqueness } from "../../src/metrics/uniqueness.ts";
import { normals, randomRows, rowsOf, vectorsOf } from "./rows.ts";

/** The definition, word for word, in float64. */
function reference(prototypes: Vectors, epsilons: readonly number[]) {
  const unit = vectorsOf(prototypes).map((row) => {
    const length = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    return row.map((x) => x / length);
  });
  const cosine = (i: number, j: number) =>
    (unit[i] ?? []).reduce((sum, x, d) => sum + x * (unit[j]?.[d] ?? 0), 0);
  const unique: Record<string, number> = {};
  for (const epsilon of epsilons) {
    const covered = unit.map(() => false);
    let representatives = 0;
    for (let i = 0; i < unit.length; i++) {
      if (covered[i]) continue;
      representatives++;
      for (let j = i + 1; j < unit.length; j++) {
        if (!covered[j] && 1 - cosine(i, j) < epsilon) covered[j] = true;
      }
    }
    unique[String(epsilon)] = representatives / unit.length;
  }
  const nearest = unit.map((_, i) =>
    unit.reduce((least, _, j) => (i === j ? least : Math.min(least, 1 - cosine(i, j))), 2),
  );
  return { unique, nearest };
}

async function agrees(prototypes: Vectors, epsilons = EPSILONS): Promise<Record<string, number>> {
  const expected = reference(prototypes, epsilons);
  const found = await geometry(prototypes, { epsilons });
  assert.deepEqual(found.unique, expected.unique);
  for (const [i, distance] of expected.nearest.entries()) {
    const difference = Math.abs((found.nearest[i] ?? Number.NaN) - Math.max(0, distance));
    assert.ok(difference < 1e-6, `row ${i}: nearest is ${found.nearest[i]}, expected ${distance}`);
  }
  return found.unique;
}

describe("distinct and used", () => {
  before(async () => {
    await tf.setBackend("wasm");
  });

  /** By the definition: the rows that win alone, walked by the plain loop, over all K. */
  async function agreesInUse(prototypes: Vectors, wins: number[]): Promise<Record<string, number>> {
    const used = vectorsOf(prototypes).filter((_, k) => (wins[k] ?? 0) > 0);
    const kept = reference(rowsOf(used), EPSILONS).unique;
    const found = await geometryInUse(prototypes, wins);
    for (const epsilon of EPSILONS) {
      const [share = 0, expected = 0] = [found.distinctUsed[epsilon], kept[epsilon]];
      assert.ok(Math.abs(share - (expected * used.length) / prototypes.rows) < 1e-12, `at ${epsilon}`);
    }
    const { unique, nearest } = await geometry(prototypes);
    assert.deepEqual([found.unique, found.nearest], [unique, nearest], "uniqueness asks nobody who wins");
    return found.distinctUsed;
  }

  it("is the greedy cover of a plain float64 loop over the rows that win, on directions and on clusters", async () => {
    const some = (K: number, every: number) => Array.from({ length: K }, (_, k) => (k % every === 1 ? k : 0));
    await agreesInUse(randomRows(300, 3, 1), some(300, 2));
    const clusters = await agreesInUse(randomRows(400, 24, 2, 20), some(400, 3));
    assert.ok((clusters["0.5"] ?? 1) < 0.1 && (clusters["0.025"] ?? 0) > (clusters["0.5"] ?? 1));
  });

  it("follows the index order across blocks of rows", async () => {
    const normal = normals(8);
    const wins = Array.from({ length: 2200 }, () => (normal() > 0.5 ? 1 : 0));
    await agreesInUse(randomRows(2200, 4, 3), wins);
  });

  it("counts used prototypes only, and lets no unused one hide them", async () => {
    const rows = rowsOf([
      [1, 0],
      [1, 0.01],
      [0, 1],
      [0, -1],
    ]);
    assert.equal((await agreesInUse(rows, [0, 3, 0, 1]))["0.5"], 0.5);
  });

  it("is uniqueness if all are used, and 0 if none is", async () => {
    const rows = randomRows(120, 4, 4);
    const { unique, distinctUsed } = await geometryInUse(rows, Array(120).fill(2));
    assert.deepEqual(distinctUsed, unique);
    const none = await geometryInUse(rows, Array(120).fill(0));
    assert.deepEqual(Object.values(none.distinctUsed), [0, 0, 0, 0]);
  });
});

describe("uniqueness", () => {
  before(async () => {
    await tf.setBackend("wasm");
  });

  it("is the greedy cover of a plain float64 loop on random directions", async () => {
    for (const [K, D] of [
      [2, 2],
      [33, 3],
      [200, 3],
      [300, 16],
      [120, 1],
    ] as const) {
      await agrees(randomRows(K, D, K + D));
    }
  });

  it("is the greedy cover of a plain float64 loop on clusters", async () => {
    const unique = await agrees(randomRows(400, 24, 1, 20));
    assert.ok((unique["0.5"] ?? 1) < 0.1 && (unique["0.025"] ?? 0) > 0.1);
  });

  it("follows the index order across blocks of rows", async () => {
    await agrees(randomRows(2200, 4, 2));
    await agrees(randomRows(1025, 12, 3, 40, 0.3));
  });

  it("counts duplicates once and antipodal rows apart", async () => {
    const { data, dim } = randomRows(7, 5, 4);
    const vectors = vectorsOf({ rows: 7, dim, data });
    const doubled = rowsOf([...vectors, ...vectors.map((row) => row.map((x) => 2 * x))]);
    assert.equal((await agrees(doubled))["0.025"], 0.5);
    const { nearest } = await geometry(doubled);
    assert.ok(Math.max(...nearest) < 1e-15, "float32 alone would see duplicates 1e-7 apart");
    const opposite = rowsOf([...vectors, ...vectors.map((row) => row.map((x) => -x))]);
    assert.equal((await agrees(opposite))["0.025"], 1);
    assert.deepEqual(await uniqueness(rowsOf(Array(50).fill([1, 2, 3]))), {
      "0.025": 0.02,
      "0.1": 0.02,
      "0.25": 0.02,
      "0.5": 0.02,
    });
  });

  it("decides pairs right at an epsilon in float64", async () => {
    const normal = normals(5);
    const pairs = 60;
    for (const epsilon of EPSILONS) {
      // Every pair lies in a plane of its own, so that no pair covers another.
      const inPlane = (pair: number, angle: number) =>
        Array<number>(2 * pairs)
          .fill(0)
          .with(2 * pair, 50 * Math.cos(angle))
          .with(2 * pair + 1, 50 * Math.sin(angle));
      const vectors = Array.from({ length: pairs }, (_, pair) => {
        const phase = normal();
        const apart = Math.acos(1 - epsilon * (1 + 3e-7 * normal()));
        return [inPlane(pair, phase), inPlane(pair, phase + apart)];
      });
      const share = (await agrees(rowsOf(vectors.flat())))[String(epsilon)] ?? 0;
      assert.ok(share > 0.5 && share < 1, `some pairs fall on either side of ${epsilon}: ${share}`);
    }
  });

  it("keeps a pair at exactly epsilon apart: the inequality is strict", async () => {
    // Cosines of 3/4 and 1/2 that float64 holds exactly.
    const quarter = rowsOf([
      [4, 0, 0, 0, 0],
      [3, 2, 1, 1, 1],
    ]);
    assert.equal((await uniqueness(quarter, [0.25]))["0.25"], 1);
    const half = rowsOf([
      [1, 1, 1, 1, 0, 0],
      [1, 1, 0, 0, 1, 1],
    ]);
    assert.equal((await uniqueness(half, [0.5]))["0.5"], 1);
  });

  it("takes any epsilons, in any order", async () => {
    const epsilons = [1.5, 0.01, 0.7, 0.3, 0.9, 2];
    await agrees(randomRows(150, 6, 6), epsilons);
  });

  it("has a nearest distance of NaN for a single prototype", async () => {
    const { unique, nearest } = await geometry(rowsOf([[3, 4]]));
    assert.equal(unique["0.025"], 1);
    assert.deepEqual([...nearest], [Number.NaN]);
  });

  it("names the row that has no direction", async () => {
    await assert.rejects(
      uniqueness(
        rowsOf([
          [1, 0],
          [0, 0],
          [0, 1],
        ]),
        [0.1],
        { source: "p.npy" },
      ),
      {
        name: "UserError",
        message: "p.npy: row 1 is all zero",
      },
    );
    await assert.rejects(
      uniqueness(
        rowsOf([
          [1, 0],
          [0, 1],
          [Number.NaN, 1],
        ]),
      ),
      {
        name: "UserError",
        message: "prototypes: row 2 is not finite",
      },
    );
  });

  it("leaves no tensors behind and reports progress up to 1", async () => {
    const tensors = tf.memory().numTensors;
    const seen: number[] = [];
    await uniqueness(randomRows(2100, 4, 7), EPSILONS, { onProgress: (done) => seen.push(done) });
    assert.equal(tf.memory().numTensors, tensors);
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
    );
    assert.equal(seen.at(-1), 1);
  });
});
