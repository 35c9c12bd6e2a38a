import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { withBackend } from "../../../src/backend/context.ts";
import { connect } from "../../../src/backend/torch/index.ts";
import { D, K, N, type State, start, step } from "./em-step.ts";
import { Recorded } from "./recorded.ts";

describe("memory of backend torch", function () {
  this.timeout(120_000);

  it("is what tf.memory says", () => {
    const device = new Recorded();
    device.on(() => {
      const before = tf.memory();
      const x = tf.exp(tf.zeros([10, 10]));
      const view = tf.reshape(x, [100]);
      const copy = x.clone();
      const after = tf.memory();
      assert.equal(after.numTensors - before.numTensors, 3 + 1, "with the zeros");
      assert.equal(after.numDataBuffers - before.numDataBuffers, 2, "views share their data");
      assert.equal(after.unreliable, false);
      device.backend.flush();
      tf.dispose([x, view]);
      assert.equal(
        device.runOf(() => {}),
        undefined,
        "a view is left",
      );
      copy.dispose();
      assert.equal(device.runOf(() => {})?.free.length, 1);
    });
  });

  it("is freed by the next run if a tensor is disposed of", () => {
    const device = new Recorded();
    device.on(() => {
      const x = tf.tidy(() => tf.exp(tf.zeros([100])));
      const run = device.backend.flush();
      x.dispose();
      assert.deepEqual(device.runOf(() => tf.sin(tf.scalar(1)))?.free, [run?.base]);
    });
  });

  it("does not grow over 1,000 steps, as the executor counts it", async () => {
    // The executor refuses a run after which its tensors would take more than this: two steps would not fit.
    const bytes = 4 * (2 * K + 5 * K * D);
    const connection = await connect({ device: "cpu", threads: 1, memory: 2 * bytes });
    try {
      const before = tf.memory().numTensors;
      await withBackend("torch", connection.backend, async () => {
        const rows: tf.Tensor2D = tf.randomNormal([N, D]);
        let state: State = start();
        for (let at = 0; at < 1000; at++) {
          const { next, metrics } = step(rows, state, 0.5);
          tf.dispose(state);
          state = next;
          if (at % 100 === 0) assert.ok((await metrics.data()).every(Number.isFinite));
          else await state.weights.data();
          metrics.dispose();
        }
        assert.equal(tf.memory().numTensors - before, 1 + 7);
        await state.counts.data();
        assert.equal(connection.backend.memory().numBytesOnDevice, bytes + 4 * N * D);
        tf.dispose([rows, state]);
      });
    } finally {
      await connection.close();
    }
  });
});
