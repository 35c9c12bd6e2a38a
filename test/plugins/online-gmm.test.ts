import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { RunError, UserError } from "../../src/errors.ts";
import { kmeans } from "../../src/plugins/kmeans.ts";
import { onlineGmm } from "../../src/plugins/online-gmm.ts";
import type { NamedTensors, PrototypePlugin } from "../../src/plugins/plugin.ts";
import { constant, linear } from "../../src/schedules/schedule.ts";
import { onEachBackend } from "../backend/available.ts";
import { at, clusteredRows, difference, matrix, options, type Settings, take, unit } from "./support.ts";

const D = 8;
const e = (d: number, sign = 1) => Array.from({ length: D }, (_, at) => (at === d ? sign : 0));
const bits = (state: NamedTensors) =>
  Object.fromEntries(
    Object.entries(state).map(([name, { data }]) => [name, Buffer.from(data.buffer).toString("hex")]),
  );

/** Rows of a saved matrix as text that tells -0 from 0. */
const rowBits = (state: NamedTensors, name: string) =>
  matrix(state, name).map((row) => row.map((value) => (Object.is(value, -0) ? "-0" : String(value))).join());

const covariances = ["shared", "spherical", "diagonal"] as const;

onEachBackend("online-gmm", () => {
  const made: PrototypePlugin[] = [];
  const make = (settings: Settings, others: Parameters<typeof options>[1] = {}) => {
    const plugin = onlineGmm(options(settings, others));
    made.push(plugin);
    return plugin;
  };
  afterEach(() => {
    for (const plugin of made.splice(0)) plugin.dispose();
  });

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
    repeated: Array.from({ length: 12 }, (_, i) => e(i % 2)),
    constant: Array.from({ length: 12 }, () => unit([1, 2, 3, 4, 5, 6, 7, 8])),
    antipodal: Array.from({ length: 12 }, (_, i) => e(0, i % 2 === 0 ? 1 : -1)),
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
              plugin.dispose();
              made.pop();
            }
          }
        }
      }
    });
  }

  it("keeps a starved component's mean while its count fades away by time", async () => {
    const start = Float32Array.from([...e(0), ...e(1)]);
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
    for (let t = 0; t < 40; t++) await take(plugin, [e(0)], at(t, 40));
    const { counts, means, prototypes } = await plugin.parameters();
    assert.ok((counts?.data[1] ?? 1) < 1e-30);
    assert.ok(difference([...(means?.data ?? [])], [...start]) < 1e-5, "means");
    assert.ok(difference([...(prototypes?.data ?? [])], [...start]) < 1e-6, "prototypes");
  });

  it("keeps the last direction where the rows of a component cancel out", async () => {
    const plugin = make(
      { components: 1, forgetting: { retention: 0 }, prior: { strength: 0 } },
      { start: Float32Array.from(e(3)) },
    );
    await take(plugin, [e(0), e(0, -1)], at(0));
    const { means, prototypes } = await plugin.parameters();
    assert.deepEqual(
      [...(means?.data ?? [])].map(Math.abs),
      e(0).map(() => 0),
    );
    assert.deepEqual([...(prototypes?.data ?? [])], e(3));
  });

  it("leaves n, s and q of untouched components bit for bit, and says which ones it touched", async () => {
    for (const covariance of covariances) {
      for (const cutoff of [0, 0.1]) {
        const start = Float32Array.from([...e(0), ...e(1), ...e(2, -1), ...e(3)]);
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
        const rows = [e(0), e(1), unit([1, 0.02, 0, 0, 0, 0, 0, 0.03])];
        await take(plugin, rows, at(0));
        const before = await plugin.state();
        const { touched, r } = await take(plugin, rows, at(1));
        const after = await plugin.state();
        const others = r.flatMap((row) => row.slice(2));
        assert.ok(others.every((share) => share < 1e-30));
        if (cutoff === 0)
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

  it("touches all where the prior's strength has changed", async () => {
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

  it("is the same bit for bit from the same seed, and another one from another", async () => {
    const run = async (seed: number, from: "directions" | "data") => {
      const plugin = make({ components: 10, covariance: "diagonal", init: { from } }, { seed });
      for (let t = 0; t < 4; t++) await take(plugin, clusteredRows(7, D, t), at(t));
      return bits(await plugin.state());
    };
    for (const from of ["directions", "data"] as const) {
      assert.deepEqual(await run(1, from), await run(1, from));
      assert.notDeepEqual(await run(1, from), await run(2, from));
    }
  });

  it("goes on from a saved state bit for bit, also while it waits for rows to begin at", async () => {
    const falling = { linear: { from: 8, to: 0.1 } };
    for (const settings of [
      { init: { from: "data" } },
      { covariance: "spherical", weights: "estimated", annealing: { linear: { from: 0.3, to: 1 } } },
      { covariance: "diagonal", cutoff: 0.05, prior: { strength: falling } },
      { cutoff: 0.05, prior: { strength: 0.1 } },
    ] satisfies Settings[]) {
      const [unbroken, resumed] = [
        make({ components: 10, ...settings }),
        make({ components: 10, ...settings }),
      ];
      await take(unbroken, clusteredRows(7, D, 0), at(0));
      resumed.load(await unbroken.state());
      for (let t = 1; t < 5; t++) {
        const [first, second] = [
          await take(unbroken, clusteredRows(7, D, t), at(t)),
          await take(resumed, clusteredRows(7, D, t), at(t)),
        ];
        assert.deepEqual(second, first, JSON.stringify(settings));
      }
      assert.deepEqual(bits(await resumed.state()), bits(await unbroken.state()), JSON.stringify(settings));
    }
  });

  it("refuses a state that does not fit, in a sentence, and changes nothing", async () => {
    const plugin = make({ components: 4 });
    const before = bits(await plugin.state());
    const states: [NamedTensors, RegExp][] = [
      [await make({ components: 5 }).state(), /saved counts have shape 5 x 1; online-gmm needs 4 x 1/],
      [await make({ components: 4, prior: { strength: 0 } }).state(), /no starts, which online-gmm needs/],
      [await make({ components: 4, covariance: "diagonal" }).state(), /squares, which online-gmm has not/],
      [{}, /no counts/],
    ];
    for (const [state, words] of states) {
      assert.throws(
        () => plugin.load(state),
        (error) => error instanceof UserError && words.test(error.message),
      );
      assert.deepEqual(bits(await plugin.state()), before);
    }
  });

  it("changes nothing where a batch is not finite", async () => {
    for (const cutoff of [0, 0.1]) {
      const plugin = make({ components: 4, weights: "estimated", cutoff });
      await take(plugin, clusteredRows(5, D, 1), at(0));
      const before = bits(await plugin.state());
      const tensors = tf.memory().numTensors;
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        await assert.rejects(take(plugin, [e(0), [value, ...e(1).slice(1)]], at(1)), RunError);
        assert.deepEqual(bits(await plugin.state()), before);
        assert.equal(tf.memory().numTensors, tensors, "and leaves no tensor behind");
      }
    }
  });

  it("holds as many tensors after a step as before it, and none after dispose", async () => {
    const before = tf.memory().numTensors;
    for (const settings of [
      {},
      { cutoff: 0.1 },
      {
        covariance: "diagonal",
        weights: "estimated",
        cutoff: 0.05,
        prior: { strength: { linear: { from: 3, to: 1 } } },
      },
      { init: { from: "data" }, prior: { strength: 0 } },
    ] satisfies Settings[]) {
      const plugin = onlineGmm(options({ components: 12, ...settings }));
      const held: number[] = [];
      for (let t = 0; t < 5; t++) {
        held.push(tf.memory().numTensors);
        await take(plugin, clusteredRows(5, D, t), at(t));
        await plugin.state();
      }
      // A start from data shares a tensor or two between where it is and where it began.
      assert.ok(new Set(held.slice(1)).size === 1 || settings.init, `${JSON.stringify(settings)}: ${held}`);
      plugin.dispose();
      assert.equal(tf.memory().numTensors, before);
    }
  });

  it("begins at rows of the first batches, random directions until there are enough", async () => {
    const plugin = make({ components: 10, init: { from: "data", count: 3 } }, { seed: 5 });
    const random = matrix(await plugin.state(), "prototypes");
    const [first, second] = [clusteredRows(7, D, 1), clusteredRows(7, D, 2)];

    const { touched } = await take(plugin, first, at(0));
    const between = await plugin.state();
    assert.deepEqual(touched, Int32Array.from([0, 1, 2, 3, 4, 5, 6]));
    assert.deepEqual(matrix(between, "means"), [...first, ...random.slice(7)], "rows first, then directions");

    await take(plugin, second, at(1));
    const begun = await plugin.state();
    const chosen = matrix(begun, "means").slice(7);
    assert.deepEqual(matrix(begun, "means").slice(0, 7), first);
    const places = chosen.map((row) => second.findIndex((other) => other.join() === row.join()));
    assert.deepEqual(
      places,
      [...new Set(places)].filter((place) => place >= 0),
      "three different rows of the second batch",
    );
    assert.deepEqual(begun.counts?.data, new Float32Array(10).fill(3), "nothing was estimated yet");
    assert.deepEqual(begun.starts?.data, begun.means?.data, "the prior pulls to where they began");

    await take(plugin, second, at(2));
    assert.notDeepEqual((await plugin.state()).sums?.data, begun.sums?.data);
  });

  it("begins at given means, with a prior that pulls a collapsed start apart", async () => {
    const start = Float32Array.from(Array.from({ length: 6 }, () => e(0)).flat());
    const plugin = make({ components: 6 }, { start });
    assert.deepEqual(
      matrix(await plugin.state(), "prototypes"),
      Array.from({ length: 6 }, () => e(0)),
    );
    await take(plugin, clusteredRows(6, D, 0), at(0));
    const after = matrix(await plugin.state(), "prototypes");
    assert.equal(new Set(after.map((row) => row.map((value) => value.toFixed(2)).join())).size, 6);
  });

  it("refuses a start that cannot be one, and schedules out of their range, before the first step", () => {
    const refuses = (words: RegExp, others: Partial<ReturnType<typeof options>>) =>
      assert.throws(
        () => onlineGmm({ ...options({ components: 2 }), ...others }),
        (error) => error instanceof UserError && words.test(error.message),
      );
    const given = (...rows: number[][]) => ({ start: Float32Array.from(rows.flat()) });
    refuses(/8 numbers; 2 components of dimension 8 need 16/, given(e(0)));
    refuses(/row 1 is all zero/, given(e(0), e(0, 0)));
    refuses(/row 0 is not finite/, given(e(0, Number.NaN), e(0)));
    refuses(/annealing is 0/, { annealing: linear({ from: 0, to: 1 }) });
    refuses(/annealing is 1.5 .* above 0 and at most 1/, { annealing: constant(1.5) });
    refuses(/prior.strength is -1/, { prior: { strength: constant(-1) } });
  });

  it("has k-means as its limit: each row to its nearest prototype, the rest as it is", async () => {
    const settings = options({ components: 6, variance: 1e-5, cutoff: 0.5 });
    const [limit, means] = [onlineGmm(settings), kmeans(settings)];
    made.push(limit, means);
    for (let t = 0; t < 4; t++) {
      const rows = clusteredRows(12, D, t);
      const [a, b] = [await take(limit, rows, at(t)), await take(means, rows, at(t))];
      assert.deepEqual(b.r, a.r);
      assert.ok(b.r.flat().every((value) => value === 0 || value === 1));
      assert.deepEqual(b.touched, a.touched);
    }
    assert.deepEqual(bits(await means.state()), bits(await limit.state()));
    assert.equal((await take(means, clusteredRows(3, D, 9), at(4))).scalars.entropy, 0);
  });
});
