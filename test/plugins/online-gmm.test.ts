import assert from "node:assert/strict";
import type { NamedTensors } from "../../src/files/tensors.ts";
import { kmeans } from "../../src/plugins/kmeans.ts";
import { onlineGmm } from "../../src/plugins/online-gmm.ts";
import { onEachBackend } from "../backend/available.ts";
import {
  at,
  axis,
  bits,
  clusteredRows,
  covariances,
  difference,
  matrix,
  mixtures,
  options,
  type Settings,
  take,
  unit,
} from "./support.ts";

const D = 8;
/** Rows of a saved matrix as text that tells -0 from 0. */
const rowBits = (state: NamedTensors, name: string) =>
  matrix(state, name).map((row) => row.map((value) => (Object.is(value, -0) ? "-0" : String(value))).join());

onEachBackend("online-gmm", () => {
  const make = mixtures();

  it("keeps plain sums at a retention of 1, each batch with the responsibilities of its own step", async () => {
    const plugin = make({
      components: 5,
      covariance: "diagonal",
      forgetting: { retention: 1 },
      init: { count: 2 },
    });
    const start = await plugin.state();
    const expected = {
      counts: matrix(start, "counts"),
      sums: matrix(start, "sums"),
      squares: matrix(start, "squares"),
    };
    for (let t = 0; t < 4; t++) {
      const rows = clusteredRows(10, D, t);
      const { r } = await take(plugin, rows, at(t));
      rows.forEach((row, i) => {
        r[i]?.forEach((share, k) => {
          (expected.counts[k] ?? [])[0] = (expected.counts[k]?.[0] ?? 0) + share;
          row.forEach((value, d) => {
            (expected.sums[k] ?? [])[d] = (expected.sums[k]?.[d] ?? 0) + share * value;
            (expected.squares[k] ?? [])[d] = (expected.squares[k]?.[d] ?? 0) + share * value ** 2;
          });
        });
      });
    }
    const state = await plugin.state();
    for (const [name, values] of Object.entries(expected))
      assert.ok(difference(matrix(state, name).flat(), values.flat()) < 1e-6, name);
  });

  it("does not depend on the order of the batch beyond rounding", async () => {
    for (const covariance of covariances) {
      const settings: Settings = { components: 7, covariance, floor: 1e-3, weights: "estimated" };
      const [plugin, other] = [make(settings), make(settings)];
      const rows = clusteredRows(20, D, 4);
      for (let t = 0; t < 3; t++) {
        await take(plugin, rows, at(t));
        await take(other, [...rows.slice(7).reverse(), ...rows.slice(0, 7)], at(t));
      }
      const [a, b] = [await plugin.parameters(), await other.parameters()];
      for (const name of Object.keys(a))
        assert.ok(difference(matrix(a, name).flat(), matrix(b, name).flat()) < 2e-5, `${covariance} ${name}`);
    }
  });

  /** Batches that break a careless mixture. */
  const hard: Record<string, number[][]> = {
    repeated: Array.from({ length: 12 }, (_, i) => axis(i % 2)),
    constant: Array.from({ length: 12 }, () => unit([1, 2, 3, 4, 5, 6, 7, 8])),
    antipodal: Array.from({ length: 12 }, (_, i) => axis(0, i % 2 === 0 ? 1 : -1)),
    "one row": [unit([1, -1, 1, -1, 1, -1, 1, -1])],
    "more components than rows": clusteredRows(3, D, 1),
  };
  for (const covariance of covariances) {
    it(`stays finite and within its bounds, ${covariance} covariance, for every finite batch`, async () => {
      for (const [name, rows] of Object.entries(hard)) {
        for (const components of [1, 9]) {
          for (const retention of [0, 0.9, 0.999]) {
            for (const [floor, strength, variance] of [
              [0, 0, 1e-4],
              [1e-3, 10, 0.05],
            ] as const) {
              const plugin = make({
                components,
                covariance,
                floor,
                variance,
                weights: "estimated",
                weightRate: strength === 0 ? 1 : 0.05,
                forgetting: { retention },
                prior: { strength },
              });
              for (let t = 0; t < 8; t++) {
                const { r } = await take(plugin, rows, at(t));
                for (const row of r) {
                  assert.ok(row.every((value) => value >= 0 && value <= 1.000001));
                  assert.ok(Math.abs(row.reduce((sum, value) => sum + value, 0) - 1) < 1e-5);
                }
              }
              const where = `${name}, K = ${components}, retention ${retention}, floor ${floor}`;
              const state = await plugin.state();
              for (const [tensor, { data }] of Object.entries(state))
                assert.ok(data.every(Number.isFinite), `${tensor} is not finite: ${where}`);
              const bound = Math.max(1, 1 / (1 - retention)) * (1 + 1e-6);
              assert.ok(
                state.counts?.data.every((n) => n >= 0 && n <= bound),
                `counts: ${where}`,
              );
              assert.ok(state.variances?.data.every((value) => value >= Math.fround(floor)) ?? true, where);
              for (const c of matrix(state, "prototypes"))
                assert.ok(Math.abs(Math.hypot(...c) - 1) < 1e-5, `prototypes: ${where}`);
            }
          }
        }
      }
    });
  }

  it("keeps a starved component's mean while its count decays with time", async () => {
    const start = Float32Array.from([...axis(0), ...axis(1)]);
    const plugin = make(
      {
        components: 2,
        covariance: "diagonal",
        forgetting: { by: "time", retention: 0.01 },
        prior: { strength: 0 },
        cutoff: 0.5,
      },
      { start },
    );
    for (let t = 0; t < 40; t++) await take(plugin, [axis(0)], at(t, 40));
    const { counts, means, prototypes } = await plugin.parameters();
    assert.ok((counts?.data[1] ?? 1) < 1e-30);
    assert.ok(difference([...(means?.data ?? [])], [...start]) < 1e-5, "means");
    assert.ok(difference([...(prototypes?.data ?? [])], [...start]) < 1e-6, "prototypes");
  });

  it("keeps the last direction if the rows of a component cancel out", async () => {
    const plugin = make(
      { components: 1, forgetting: { retention: 0 }, prior: { strength: 0 } },
      { start: Float32Array.from(axis(3)) },
    );
    await take(plugin, [axis(0), axis(0, -1)], at(0));
    const { means, prototypes } = await plugin.parameters();
    assert.deepEqual(
      [...(means?.data ?? [])].map(Math.abs),
      axis(0).map(() => 0),
    );
    assert.deepEqual([...(prototypes?.data ?? [])], axis(3));
  });

  it("leaves n, s and q of untouched components bit for bit, and says which ones it touched", async () => {
    for (const covariance of covariances) {
      for (const cutoff of [0, 0.1]) {
        const start = Float32Array.from([...axis(0), ...axis(1), ...axis(2, -1), ...axis(3)]);
        const plugin = make(
          {
            components: 4,
            covariance,
            variance: 0.0125,
            cutoff,
            init: { variance: 0.0125 },
            prior: { strength: 0 },
          },
          { start },
        );
        const rows = [axis(0), axis(1), unit([1, 0.02, 0, 0, 0, 0, 0, 0.03])];
        await take(plugin, rows, at(0));
        const before = await plugin.state();
        const { touched, r } = await take(plugin, rows, at(1));
        const after = await plugin.state();
        const others = r.flatMap((row) => row.slice(2));
        assert.ok(others.every((share) => share < 1e-30));
        // Those of narrow components are 0 at once.
        if (cutoff === 0 && covariance === "shared")
          assert.ok(
            others.some((share) => share > 0),
            "a little counts as nothing",
          );
        const names = [
          "counts",
          "sums",
          "means",
          "prototypes",
          ...(covariance === "shared" ? [] : ["squares", "variances"]),
        ];
        for (const name of names) {
          const [old, now] = [rowBits(before, name), rowBits(after, name)];
          assert.deepEqual(now.slice(2), old.slice(2), `${name}, ${covariance}, cutoff ${cutoff}`);
          if (name !== "variances") assert.notDeepEqual(now.slice(0, 2), old.slice(0, 2), name);
        }
        assert.deepEqual(touched, cutoff === 0 ? "all" : Int32Array.of(0, 1));
      }
    }
  });

  it("touches all if the prior's strength has changed", async () => {
    const plugin = make({
      components: 20,
      cutoff: 0.2,
      prior: { strength: { step: { from: 5, at: [2], factor: 2 } } },
    });
    const touched: unknown[] = [];
    for (let t = 0; t < 4; t++) {
      const step = await take(plugin, clusteredRows(2, D, t), at(t));
      touched.push(step.touched === "all" ? "all" : step.touched.length < 10);
    }
    assert.deepEqual(touched, ["all", true, "all", true]);
  });

  it("cuts small responsibilities, and always leaves a row its largest", async () => {
    for (const cutoff of [0.05, 1]) {
      const plugin = make({ components: 6, variance: 0.3, cutoff });
      const whole = make({ components: 6, variance: 0.3 });
      const rows = clusteredRows(10, D, 2);
      const [{ r }, { r: all }] = [await take(plugin, rows, at(0)), await take(whole, rows, at(0))];
      all.forEach((row, i) => {
        const kept = row.map((value) => (value >= Math.min(cutoff, Math.max(...row)) ? value : 0));
        const sum = kept.reduce((total, value) => total + value, 0);
        assert.ok(
          difference(
            r[i] ?? [],
            kept.map((value) => value / sum),
          ) < 1e-6,
        );
      });
      assert.ok(r.flat().some((value) => value === 0));
    }
  });

  for (const covariance of covariances) {
    it(`estimates several mixtures as if each were alone, ${covariance} covariance`, async () => {
      const start = Float32Array.from(clusteredRows(6, D, 7, 2).flat());
      const settings = (components: number, weights: "estimated" | "uniform", cutoff: number): Settings => ({
        components,
        covariance,
        weights,
        cutoff,
        variance: 0.2,
        prior: { strength: 0 },
      });
      for (const [weights, cutoff] of [
        ["estimated", 0],
        ["uniform", 0.2],
      ] as const) {
        const both = make({ ...settings(6, weights, cutoff), mixtures: 2 }, { start });
        const alone = [0, 1].map((m) =>
          make(settings(3, weights, cutoff), { start: start.slice(m * 3 * D, (m + 1) * 3 * D) }),
        );
        for (let t = 0; t < 4; t++) {
          const rows = clusteredRows(9, D, t);
          const { r, scalars } = await take(both, rows, at(t));
          const parts = await Promise.all(alone.map((each) => take(each, rows, at(t))));
          const expected = rows.flatMap((_, i) => parts.flatMap((part) => part.r[i] ?? []));
          assert.ok(difference(r.flat(), expected) < 1e-5);
          const entropy = parts.reduce((sum, part) => sum + (part.scalars.entropy ?? Number.NaN) / 2, 0);
          assert.ok(difference([scalars.entropy ?? 0], [entropy]) < 1e-5);
        }
        const state = await both.state();
        const states = await Promise.all(alone.map((each) => each.state()));
        for (const name of Object.keys(state).filter((name) => !["progress", "starts"].includes(name))) {
          const share = name === "weights" ? 0.5 : 1;
          const expected = states.flatMap((each) =>
            matrix(each, name)
              .flat()
              .map((value) => share * value),
          );
          assert.ok(difference(matrix(state, name).flat(), expected) < 1e-5, `${name}, weights ${weights}`);
        }
      }
    });
  }

  it("has k-means as its limit: each row goes to its nearest prototype, and all else is the same", async () => {
    const settings = options({ components: 6, variance: 1e-5, cutoff: 0.5 });
    const [limit, means] = [onlineGmm(settings), kmeans(settings)];
    for (let t = 0; t < 4; t++) {
      const rows = clusteredRows(12, D, t);
      const [a, b] = [await take(limit, rows, at(t)), await take(means, rows, at(t))];
      assert.deepEqual(b.r, a.r);
      assert.ok(b.r.flat().every((value) => value === 0 || value === 1));
      assert.deepEqual(b.touched, a.touched);
    }
    assert.deepEqual(bits(await means.state()), bits(await limit.state()));
    assert.equal((await take(means, clusteredRows(3, D, 9), at(4))).scalars.entropy, 0);
    limit.dispose();
    means.dispose();
  });
});
