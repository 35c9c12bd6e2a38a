import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-wasm";
import { usage, wins } from "../../src/metrics/usage.ts";
import { randomRows, rowsOf, vectorsOf } from "./rows.ts";

describe("usage", () => {
  before(async () => {
    await tf.setBackend("wasm");
  });

  it("is the share of components with a win, and exp of the entropy of the wins", () => {
    assert.deepEqual(usage([5, 0, 5, 0]), { used: 0.5, perplexity: 2 });
    const even = usage([3, 3, 3, 3, 3]);
    assert.equal(even.used, 1);
    assert.ok(Math.abs(even.perplexity - 5) < 1e-12);
    assert.ok(usage([1000, 1]).perplexity < 1.01);
  });

  it("is 0 if nothing was won", () => {
    assert.deepEqual(usage([0, 0]), { used: 0, perplexity: 0 });
  });

  it("gives each embedding to the prototype of its largest product, over many blocks", async () => {
    const embeddings = randomRows(700, 6, 1);
    const prototypes = randomRows(9000, 6, 2);
    const expected = new Int32Array(9000);
    const candidates = vectorsOf(prototypes);
    for (const h of vectorsOf(embeddings)) {
      const products = candidates.map((c) => c.reduce((sum, x, d) => sum + x * (h[d] ?? 0), 0));
      const winner = products.reduce((best, p, k) => (p > (products[best] ?? 0) ? k : best), 0);
      expected[winner] = (expected[winner] ?? 0) + 1;
    }
    const tensors = tf.memory().numTensors;
    assert.deepEqual(await wins(embeddings, prototypes), expected);
    assert.equal(tf.memory().numTensors, tensors);
  });

  it("gives the win to the first of equal prototypes", async () => {
    const prototypes = rowsOf([
      [0, 1],
      [1, 0],
      [1, 0],
    ]);
    assert.deepEqual(
      [
        ...(await wins(
          rowsOf([
            [1, 0],
            [0.8, 0.6],
          ]),
          prototypes,
        )),
      ],
      [0, 2, 0],
    );
  });

  it("refuses embeddings of another dimension", async () => {
    await assert.rejects(wins(rowsOf([[1, 0, 0]]), rowsOf([[1, 0]]), { source: "e.npy" }), {
      name: "UserError",
      message: "e.npy has rows of 3 numbers, but the prototypes have 2",
    });
  });
});
