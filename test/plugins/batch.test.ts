import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { BadRowError, guardedBatch, unitBatch } from "../../src/plugins/batch.ts";
import { onEachBackend } from "../backend/available.ts";
import { difference } from "./support.ts";

onEachBackend("a batch", () => {
  const check = async (rows: number[][]) => {
    const h = tf.tensor2d(rows);
    const before = tf.memory().numTensors;
    try {
      const unit = await unitBatch(h);
      const values = await unit.array();
      unit.dispose();
      return values;
    } finally {
      assert.equal(tf.memory().numTensors, before, "no tensor is left behind");
      h.dispose();
    }
  };

  it("has its rows divided by their length, however long or short", async () => {
    const rows = await check([
      [3, 4],
      [0.6, -0.8],
      [3e30, 4e30],
      [0, -1e-30],
    ]);
    assert.ok(difference(rows.flat(), [0.6, 0.8, 0.6, -0.8, 0.6, 0.8, 0, -1]) < 1e-6);
  });

  it("is refused for its first row that is not finite or all zero", async () => {
    const good = [1, 2];
    const cases: [number[][], number, RegExp][] = [
      [[good, [Number.NaN, 1], [0, 0]], 1, /row 1 of the batch is not finite/],
      [[[1, Number.NaN], good], 0, /row 0 of the batch is not finite/],
      [[good, good, [1, Number.POSITIVE_INFINITY]], 2, /not finite/],
      [[[Number.NEGATIVE_INFINITY, Number.NaN]], 0, /not finite/],
      [[good, [0, -0]], 1, /row 1 of the batch is all zero/],
    ];
    for (const [rows, row, words] of cases) {
      await assert.rejects(check(rows), (error) => {
        assert.ok(error instanceof BadRowError && error.code === "bad-batch");
        assert.equal(error.row, row);
        assert.match(error.message, words);
        return true;
      });
    }
  });
});

onEachBackend("a batch that is judged where it is", () => {
  const judge = async (rows: number[][]) => {
    const h = tf.tensor2d(rows);
    const before = tf.memory().numTensors;
    const { unit, ok, first } = guardedBatch(h);
    const found = {
      unit: await unit.array(),
      ok: (await ok.data())[0] === 1,
      first: (await first.data())[0],
    };
    tf.dispose([unit, ok, first]);
    assert.equal(tf.memory().numTensors, before, "no tensor is left behind");
    h.dispose();
    return found;
  };

  it("has its rows divided by their length, and names no row if all are valid", async () => {
    const rows = [
      [3, 4],
      [3e30, -4e30],
      [0, -1e-30],
    ];
    const { unit, ok, first } = await judge(rows);
    assert.ok(difference(unit.flat(), [0.6, 0.8, 0.6, -0.8, 0, -1]) < 1e-6);
    assert.deepEqual([ok, first], [true, 3]);
  });

  it("names the first unfit row, and becomes zeros, with which all arithmetic is finite", async () => {
    const good = [1, 2];
    for (const [rows, at] of [
      [[good, [Number.NaN, 1], [0, 0]], 1],
      [[[1, Number.NaN], good], 0],
      [[good, good, [1, Number.POSITIVE_INFINITY]], 2],
      [[good, [Number.NEGATIVE_INFINITY, 1]], 1],
      [[good, [0, -0]], 1],
    ] as const) {
      const { unit, ok, first } = await judge(rows.map((row) => [...row]));
      assert.deepEqual([ok, first], [false, at]);
      assert.ok(unit.flat().every((value) => value === 0));
    }
  });
});
