import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { Run } from "../../../src/backend/torch/index.ts";
import { D, N, start, step } from "./em-step.ts";
import { bytesOf, codeOf, Recorded } from "./recorded.ts";

describe("programs of backend torch", () => {
  it("define a step once, then send less than 1 KB for it, whatever its numbers", () => {
    const device = new Recorded();
    const runs = device.on(() => {
      let state = start();
      return Array.from({ length: 20 }, (_, at): Run | null => {
        const rows = device.backend.announce([N, D]);
        const { next, metrics } = step(rows, state, 0.2 + at / 100);
        tf.dispose(state);
        state = next;
        const run = device.backend.flush({ rows, metrics, prototypes: next.prototypes });
        tf.dispose([rows, metrics]);
        return run;
      });
    });
    const known = runs.flatMap((run) => run ?? []);
    assert.equal(known.length, 20);
    assert.deepEqual(
      known.map(({ definition }) => definition !== undefined),
      known.map((_, at) => at === 0),
    );
    assert.equal(new Set(known.map(({ program }) => program)).size, 1);
    assert.ok(
      known.slice(1).every((run) => bytesOf(run) < 1024),
      `${known.map(bytesOf)}`,
    );
    assert.ok(known.every(({ rows, metrics, prototypes }) => Math.min(rows, metrics, prototypes) > 0));
    assert.ok(known.every(({ uploads, reads }) => reads.length === 0 && uploads.size <= 7));
    assert.deepEqual(device.runs, []);
  });

  it("names a program by its text alone", () => {
    const [one, two] = [new Recorded(), new Recorded()].map((device, at) =>
      device.runOf(() => tf.add(tf.tensor1d([at, 2, 3]), at)),
    );
    assert.match(one?.program ?? "", /^[0-9a-f]{16}$/);
    assert.equal(one?.program, two?.program);
    assert.deepEqual(
      [one?.literals, two?.literals],
      [
        [0, 2, 3, 0],
        [1, 2, 3, 1],
      ],
    );
  });

  it("forgets all programs after 256 of them, with the run that brings the next", () => {
    const device = new Recorded();
    const runs = Array.from({ length: 258 }, (_, at) => device.runOf(() => tf.add(tf.ones([at + 1]), 1)));
    assert.deepEqual(
      runs.flatMap((run, at) => (run?.forget ? [at] : [])),
      [256],
    );
    assert.ok(device.runOf(() => tf.add(tf.ones([1]), 1))?.definition, "the first is defined anew");
  });

  it("leave out tensors that nobody holds, and keep those that they need", () => {
    const device = new Recorded();
    const run = device.runOf(() => {
      const x = tf.tensor1d([1, 2]);
      tf.exp(x).dispose();
      const square = tf.square(x);
      tf.sin(square);
      square.dispose();
    });
    assert.deepEqual(codeOf(run), ["Square 0", "Sin 1"]);
    assert.deepEqual(
      device.runOf(() => tf.exp(tf.tensor1d([1, 2])).dispose()),
      undefined,
    );
  });

  it("reshapes only for those who use the other shape", () => {
    const device = new Recorded();
    device.on(() => {
      const x = tf.exp(tf.tensor1d([1, 2, 3, 4]));
      const matrix: tf.Tensor2D = tf.reshape(x, [2, 2]);
      assert.deepEqual(codeOf(device.runOf(() => tf.sin(x))), ["Exp 0", "Sin 1"]);
      const run = device.runOf(() => [tf.matMul(matrix, matrix), tf.reshape(matrix, [4, 1])]);
      assert.deepEqual(codeOf(run), ["Reshape 0", "BatchMatMul 1 1"]);
      assert.deepEqual(run?.literals, []);
    });
  });

  it("sends small tensors with each run, large ones once, and constant ones as one number", () => {
    const device = new Recorded();
    const run = device.runOf(() => {
      const rows = tf.tensor1d(Float32Array.from({ length: 65 }, (_, at) => at));
      tf.add(tf.add(rows, tf.ones([65])), tf.tensor1d(new Float32Array(65).fill(7)));
    });
    assert.deepEqual(codeOf(run), ["Fill 1", "Add 0 3", "Fill 2", "Add 4 5"]);
    assert.deepEqual(run?.literals, [1, 7]);
    assert.deepEqual(
      [...(run?.uploads.values() ?? [])].map(({ data }) => data.length),
      [65],
    );
  });

  it("upload the numbers of an array as they were when the tensor was made", () => {
    const device = new Recorded();
    const values = new Float32Array(100).map((_, at) => at);
    const run = device.runOf(() => {
      tf.exp(tf.tensor1d(values));
      values.fill(9);
    });
    assert.equal([...(run?.uploads.values() ?? [])][0]?.data[5], 5);
  });

  it("reads everything requested at once in one run", async () => {
    const device = new Recorded();
    await device.on(async () => {
      const [a, b] = [tf.exp(tf.tensor1d([1])), tf.sin(tf.tensor1d([2]))];
      const values = Promise.all([a.data(), b.data(), a.data()]);
      a.dispose();
      await Promise.resolve();
      assert.equal(device.runs.length, 1);
      const { seq = 0, reads = [], free = [] } = device.runs[0] ?? {};
      assert.deepEqual([reads.length, free], [2, reads.slice(0, 1)]);
      device.backend.values(seq, { 0: { data: Float32Array.of(3) }, 1: { data: Float32Array.of(4) } });
      const [first, second, again] = await values;
      assert.deepEqual(
        [first, second, again],
        [3, 4, 3].map((value) => Float32Array.of(value)),
      );
      assert.notEqual(first.buffer, again.buffer);
    });
  });

  it("sends pending reads with a flush", async () => {
    const device = new Recorded();
    await device.on(async () => {
      const value = tf.exp(tf.tensor1d([1])).data();
      const run = device.backend.flush();
      assert.equal(run?.reads.length, 1);
      device.backend.values(run.seq, { 0: { data: Float32Array.of(3) } });
      assert.deepEqual(await value, Float32Array.of(3));
      assert.deepEqual(device.runs, []);
    });
  });

  it("gives values that JavaScript has without asking, in an array of their own", async () => {
    const device = new Recorded();
    await device.on(async () => {
      const x = tf.tensor1d([1, 2]);
      (await x.data()).fill(9);
      assert.deepEqual(await x.data(), Float32Array.of(1, 2));
    });
    assert.deepEqual(device.runs, []);
  });

  it("hands tensors to the rank in their own shape", () => {
    const device = new Recorded();
    device.on(() => {
      const flat = tf.exp(tf.zeros([6]));
      const run = device.backend.flush({
        prototypes: tf.reshape(flat, [3, 2]),
        targets: tf.tensor2d([[1, 0]]),
      });
      assert.deepEqual(codeOf(run ?? undefined), ["Exp 0", "Reshape 1"]);
      assert.deepEqual(
        [...(run?.uploads.values() ?? [])].map(({ shape }) => shape),
        [[1, 2]],
      );
      assert.ok(run?.free.includes(run.prototypes), "nobody else holds the view");
    });
  });

  it("numbers its runs without a gap, because the receiver would wait for a missing one", () => {
    const device = new Recorded();
    device.on(() => device.backend.dispose());
    assert.equal(
      device.runOf(() => {}),
      undefined,
    );
    device.on(() => device.backend.dispose());
    assert.equal(device.runOf(() => tf.exp(tf.tensor1d([1])))?.seq, 1);
    assert.equal(device.runOf(() => tf.exp(tf.tensor1d([1])))?.seq, 2);
  });
});
