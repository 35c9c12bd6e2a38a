import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { RunError, UserError } from "../../src/errors.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";
import { onlineGmm } from "../../src/plugins/online-gmm.ts";
import { constant, linear } from "../../src/schedules/schedule.ts";
import { onEachBackend } from "../backend/available.ts";
import { at, axis, bits, clusteredRows, matrix, mixtures, options, type Settings, take } from "./support.ts";

const D = 8;
onEachBackend("online-gmm's state", () => {
  const make = mixtures();

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

  it("continues from a saved state bit for bit, also while it waits for rows to begin at", async () => {
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
      [
        { ...(await plugin.state()), starts: { shape: [5, D], data: new Float32Array(5 * D) } },
        /saved starts have shape 5 x 8; online-gmm needs 4 x 8/,
      ],
      [await make({ components: 4, covariance: "diagonal" }).state(), /squares, which online-gmm lacks/],
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

  it("changes nothing if a batch is not finite", async () => {
    for (const cutoff of [0, 0.1]) {
      const plugin = make({ components: 4, weights: "estimated", cutoff });
      await take(plugin, clusteredRows(5, D, 1), at(0));
      const before = bits(await plugin.state());
      const tensors = tf.memory().numTensors;
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        await assert.rejects(take(plugin, [axis(0), [value, ...axis(1).slice(1)]], at(1)), RunError);
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
    const start = Float32Array.from(Array.from({ length: 6 }, () => axis(0)).flat());
    const plugin = make({ components: 6 }, { start });
    assert.deepEqual(
      matrix(await plugin.state(), "prototypes"),
      Array.from({ length: 6 }, () => axis(0)),
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
    refuses(/8 numbers; 2 components of dimension 8 need 16/, given(axis(0)));
    refuses(/row 1 is all zero/, given(axis(0), axis(0, 0)));
    refuses(/row 0 is not finite/, given(axis(0, Number.NaN), axis(0)));
    refuses(/annealing is 0/, { annealing: linear({ from: 0, to: 1 }) });
    refuses(/annealing is 1.5 .* above 0 and at most 1/, { annealing: constant(1.5) });
    refuses(/prior.strength is -1/, { prior: { strength: constant(-1) } });
  });
});
