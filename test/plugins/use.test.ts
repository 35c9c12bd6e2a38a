import assert from "node:assert/strict";
import { onEachBackend } from "../backend/available.ts";
import {
  at,
  axis,
  bits,
  clusteredRows,
  difference,
  matrix,
  mixtures,
  type Settings,
  take,
  unit,
} from "./support.ts";

const D = 8;
/** A step in which one component, at most, starts again: K is at most 256. */
const settings: Settings = {
  components: 4,
  variance: 0.01,
  prior: { strength: 0 },
  forgetting: { by: "responsibility", retention: 0.9 },
  use: { share: 1, idle: 2 },
};
/** Four components of which the first two win all rows of the test, and the others none. */
const start = Float32Array.from([axis(0), axis(1), axis(6), axis(7)].flat());
/** Rows at the first two axes, and one between the first and the third. */
const rows = [axis(0), axis(1), unit([1, 0, 1, 0, 0, 0, 0, 0]), axis(0)];

onEachBackend("components that come into use", () => {
  const make = mixtures();

  it("an idle component starts again at the row that the mixture explains worst", async () => {
    const plugin = make(settings, { start });
    const ages = [];
    for (let t = 0; t < 2; t++) {
      const { scalars } = await take(plugin, rows, at(t));
      const state = await plugin.state();
      ages.push(matrix(state, "ages").flat());
      assert.equal(scalars.live, [1, 0.5][t]);
      assert.equal(scalars.started, [0, 1][t]);
    }
    assert.deepEqual(ages, [
      [0, 0, 1, 1],
      [0, 0, 0, 2], // of two that have been idle for as long, the first
    ]);
    const state = await plugin.state();
    assert.ok(difference(matrix(state, "prototypes")[2] ?? [], rows[2] ?? []) < 1e-6);
    assert.ok(
      Math.abs((matrix(state, "counts")[2]?.[0] ?? 0) - 10) < 1e-4,
      "the whole memory is of that row",
    );
    assert.deepEqual(matrix(state, "prototypes")[3], axis(7), "one starts again in a step of so few");
  });

  it("none starts again while the wanted number are live", async () => {
    const plugin = make({ ...settings, use: { share: 0.5, idle: 2 } }, { start });
    for (let t = 0; t < 5; t++) {
      const { scalars } = await take(plugin, rows, at(t));
      assert.equal(scalars.started, 0);
    }
    assert.deepEqual(matrix(await plugin.state(), "prototypes").slice(2), [axis(6), axis(7)]);
  });

  it("the prior pulls one that starts again toward where it began, and keeps two at one row apart", async () => {
    const row = unit([0, 0, 1, 1, 0, 0, 0, 0]);
    const plugin = make(
      { ...settings, prior: { strength: 10 }, use: { share: 1, idle: 1 } },
      { start: undefined },
    );
    const homes = matrix(await plugin.state(), "starts");
    // Every row is the same, so all components start again there, one after the other.
    for (let t = 0; t < 8; t++) await take(plugin, [row, row], at(t));
    const prototypes = matrix(await plugin.state(), "prototypes");
    const dot = (a: number[], b: number[]) => a.reduce((sum, value, d) => sum + value * (b[d] ?? 0), 0);
    prototypes.forEach((c, k) => {
      const home = homes[k] ?? [];
      assert.ok(dot(c, home) > dot(row, home), `component ${k} is nearer to its home than the row is`);
      assert.ok(dot(c, row) > dot(home, row), `component ${k} is nearer to the row than its home is`);
    });
  });

  it("one that starts again gets an even weight, and the variance of a start", async () => {
    const plugin = make(
      { ...settings, covariance: "diagonal", weights: "estimated", init: { variance: 0.25 } },
      { start },
    );
    for (let t = 0; t < 2; t++) await take(plugin, rows, at(t));
    const { ages, ...state } = await plugin.state();
    const started = ages?.data.lastIndexOf(0) ?? -1;
    assert.ok(started >= 2);
    const weights = matrix(state, "weights").flat();
    assert.ok(Math.abs(weights.reduce((sum, pi) => sum + pi, 0) - 1) < 1e-6);
    const idle = weights[started === 2 ? 3 : 2] ?? 1;
    assert.ok((weights[started] ?? 0) > idle, "an idle component's weight keeps it from its first row");
    for (const variance of matrix(state, "variances")[started] ?? [])
      assert.ok(Math.abs(variance - 0.25) < 1e-5);
  });

  it("by default all come into use after 100 rows for each, and the prior keeps those at one row apart by .5", async () => {
    const [K, dim, N] = [32, 64, 8];
    const row = clusteredRows(1, dim, 1)[0] ?? [];
    const plugin = make(
      { components: K, forgetting: { retention: 0.9 }, use: { idle: 300 }, prior: { strength: "auto" } },
      { dim },
    );
    let started = 0;
    for (let t = 0; t < (100 * K) / N; t++) {
      const { scalars } = await take(plugin, Array(N).fill(row), at(t));
      started += scalars.started ?? 0;
      assert.ok((scalars.live ?? 1) <= ((t + 1) * N) / (100 * K) + 1 / K, `step ${t}`);
    }
    assert.ok(started >= K - 2, `${started} have started`);
    const prototypes = matrix(await plugin.state(), "prototypes");
    const dot = (a: number[], b: number[]) => a.reduce((sum, value, d) => sum + value * (b[d] ?? 0), 0);
    const apart = prototypes.flatMap((c, k) =>
      prototypes.slice(k + 1).map((other) => 1 - dot(c, other) > 0.5),
    );
    assert.ok(apart.filter(Boolean).length > 0.85 * apart.length);
    assert.ok(prototypes.every((c) => dot(c, row) > 0.3));
  });

  it("a given start counts as much as a component that starts again, so that the prior does not outweigh it", async () => {
    const given = Float32Array.from([axis(0), axis(1), axis(2), axis(3)].flat());
    const plugin = make({ ...settings, prior: { strength: 10 } }, { start: given });
    await take(plugin, [axis(0)], at(0));
    matrix(await plugin.state(), "prototypes").forEach((c, k) => {
      assert.ok((c[k] ?? 0) > 0.2, `component ${k} has left its start`);
    });
  });

  it("with several mixtures, a component is live if it wins a row in its own", async () => {
    const plugin = make({ ...settings, mixtures: 2, variance: 0.5, use: { share: 1, idle: 3 } }, { start });
    // The first mixture is certain of every row, the second is not.
    for (let t = 0; t < 2; t++) await take(plugin, [axis(0), axis(1)], at(t));
    const ages = matrix(await plugin.state(), "ages").flat();
    assert.equal(Math.min(ages[2] ?? 9, ages[3] ?? 9), 0);
  });

  it("two that start again in one step do so at different images, whose views come one after the other", async () => {
    const [K, images] = [512, 8];
    const plugin = make({ components: K, use: { share: 1, idle: 1 }, prior: { strength: 0 } }, { dim: 16 });
    const view = clusteredRows(images, 16, 5);
    // All views of an image are alike, so its rows are equally badly explained.
    await take(plugin, [...view, ...view], at(0));
    const state = await plugin.state();
    const begun = matrix(state, "prototypes").filter((_, k) => (matrix(state, "counts")[k]?.[0] ?? 0) > 90);
    assert.equal(begun.length, 2);
    assert.notDeepEqual(begun[0], begun[1]);
  });

  it("continues bit for bit from its state", async () => {
    for (const covariance of ["shared", "diagonal"] as const) {
      const schedule = { linear: { from: 0.1, to: 1, steps: 6 } };
      const own: Settings = { ...settings, components: 9, covariance, use: { share: schedule, idle: 1 } };
      const [one, two] = [make(own), make(own)];
      for (let t = 0; t < 4; t++) await take(one, clusteredRows(12, D, t), at(t));
      two.load(await one.state());
      for (let t = 4; t < 8; t++) {
        for (const plugin of [one, two]) await take(plugin, clusteredRows(12, D, t), at(t));
      }
      assert.deepEqual(bits(await two.state()), bits(await one.state()));
    }
  });

  it("accepts a state without ages (none is idle yet), and one with ages if none starts again", async () => {
    const [without, within] = [
      make({ ...settings, use: { share: 0 } }, { start }),
      make(settings, { start }),
    ];
    await take(without, rows, at(0));
    within.load(await without.state());
    assert.deepEqual(matrix(await within.state(), "ages").flat(), [0, 0, 0, 0]);
    without.load(await within.state());
    assert.deepEqual(bits(await without.parameters()), bits(await within.parameters()));
  });

  it("continues from a state of another prior without a jump, since its components begin where they are", async () => {
    const own: Settings = { ...settings, components: 6, prior: { strength: 10 }, use: { share: 0 } };
    const before = make(own);
    for (let t = 0; t < 6; t++) await take(before, clusteredRows(12, D, t), at(t));
    const old = await before.state();
    for (const [strength, share] of [
      [150, 1],
      [0, 1],
      [0, 0],
    ] as const) {
      const after = make({ ...own, prior: { strength }, use: { share } });
      after.load(old);
      await take(after, clusteredRows(12, D, 6), at(6));
      matrix(await after.state(), "prototypes").forEach((c, k) => {
        const was = matrix(old, "prototypes")[k] ?? [];
        assert.ok(
          c.reduce((sum, value, d) => sum + value * (was[d] ?? 0), 0) > 0.7,
          `${strength}, ${share}, ${k}`,
        );
      });
    }
    const none = make({ ...own, prior: { strength: 0 } });
    const some = make({ ...own, use: { share: 1 } });
    some.load(await none.state());
    assert.deepEqual(matrix(await some.state(), "starts"), matrix(await some.state(), "prototypes"));
  });

  it("is the same whether a batch is one block or several", async () => {
    const own: Settings = { ...settings, components: 9, use: { share: 1, idle: 1 } };
    const [whole, blocks] = [make(own), make({ ...own, block: 5 })];
    for (let t = 0; t < 6; t++) {
      for (const plugin of [whole, blocks]) await take(plugin, clusteredRows(12, D, t), at(t));
    }
    const [a, b] = [await whole.state(), await blocks.state()];
    assert.deepEqual(matrix(a, "ages"), matrix(b, "ages"));
    matrix(a, "prototypes").forEach((row, k) => {
      row.forEach((value, d) => {
        assert.ok(Math.abs(value - (matrix(b, "prototypes")[k]?.[d] ?? 2)) < 1e-5);
      });
    });
  });
});
