import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { type LoopAnswer, takeAnswer } from "../../src/api/loop-answer.ts";
import { openBackend } from "../../src/backend/backend.ts";
import { UserError } from "../../src/errors.ts";

const [N, K, D] = [2, 3, 2];
const start = () => ({ n: K, d: D, data: Float32Array.of(1, 0, 0, 1, -1, 0) });
const targets = { n: N, k: K, data: Float32Array.of(1, 0, 0, 0, 0.5, 0.5) };

describe("the answer of a loop", () => {
  before(() => openBackend("wasm"));

  it("is taken from tensors, which are disposed of, as from arrays, which are copied", async () => {
    const before = tf.memory().numTensors;
    const rows = Float32Array.of(0, 1, 1, 0, 0, -1);
    const array = await takeAnswer({ targets, rows: { d: D, data: rows } }, N, start());
    const tensor = await takeAnswer(
      { targets: tf.tensor2d(targets.data, [N, K]), rows: tf.tensor2d(rows, [K, D]) },
      N,
      start(),
    );
    assert.deepEqual(tensor, array);
    assert.notEqual(array.targets?.data, targets.data);
    assert.equal(tf.memory().numTensors, before);
  });

  it("moves the prototypes that it names, and no other", async () => {
    const prototypes = start();
    const rows = { d: D, data: Float32Array.of(0, -1), indices: Int32Array.of(1) };
    await takeAnswer({ targets, rows }, N, prototypes);
    assert.deepEqual(prototypes.data, Float32Array.of(1, 0, 0, -1, -1, 0));
    assert.equal((await takeAnswer({ targets }, N, prototypes)).rows, undefined);
  });

  const wrong: [string, LoopAnswer, RegExp][] = [
    [
      "targets of another shape",
      { targets: { n: 1, k: 6, data: targets.data } },
      /targets: 1 x 6 where 2 x 3/,
    ],
    [
      "targets that are not finite",
      { targets: { ...targets, data: Float32Array.of(1, 0, 0, Number.NaN, 0, 0) } },
      /targets: row 1 is not finite/,
    ],
    [
      "scalars that are not finite",
      { targets, scalars: { mine: Number.POSITIVE_INFINITY } },
      /scalars: mine is Infinity; a finite number is needed/,
    ],
    [
      "a clock that is not finite",
      { targets, clock: { lr: Number.NaN } },
      /clock: lr is NaN; a finite number is needed/,
    ],
    [
      "too few prototypes",
      { targets, rows: { d: D, data: Float32Array.of(1, 0) } },
      /rows: 1 x 2 where 3 x 2/,
    ],
    [
      "an index that is not there",
      { targets, rows: { d: D, data: Float32Array.of(1, 0), indices: Int32Array.of(3) } },
      /an index is not below 3/,
    ],
    [
      "prototypes that are not of unit length",
      { targets, rows: { d: D, data: Float32Array.of(2, 0), indices: Int32Array.of(0) } },
      /row 0 is of length 2/,
    ],
  ];
  for (const [what, answer, words] of wrong) {
    it(`is refused with ${what}, and moves nothing`, async () => {
      const prototypes = start();
      await assert.rejects(takeAnswer(answer, N, prototypes), (error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, words);
        return true;
      });
      assert.deepEqual(prototypes, start());
    });
  }
});
