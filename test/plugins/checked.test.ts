import assert from "node:assert/strict";
import { once } from "node:events";
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";
import { UserError } from "../../src/errors.ts";
import { checked, checkPrototypes } from "../../src/plugins/checked.ts";
import { frozen } from "../../src/plugins/frozen.ts";
import type { PrototypePlugin } from "../../src/plugins/plugin.ts";
import { directions } from "../../src/plugins/random.ts";

const [N, K, D] = [3, 4, 8];
const clock = { step: 12, steps: 100, epoch: 0 };
const options = { components: K, dim: D, seed: 1, variance: 0.02, cutoff: 0, start: undefined };

/** Frozen prototypes, with a mistake in what a step gives, or in the prototypes. */
function broken(mistake: Partial<Record<keyof PrototypePlugin | "result", unknown>>): PrototypePlugin {
  const inner = frozen(options);
  const { result = {}, ...methods } = mistake;
  const good = inner.step.bind(inner);
  const step = async (h: tf.Tensor2D) => Object.assign(await good(h, clock), result);
  return Object.assign(inner, { step }, methods);
}

const ones = (...shape: [number, number]) => tf.fill(shape, 1 / (shape[1] ?? 1));
const holed = () => tf.mul(ones(N, K), tf.tensor2d([[1], [Number.NaN], [1]]));

const lost = () => {
  throw new Error("lost");
};

const mistakes: [string, () => PrototypePlugin, RegExp][] = [
  [
    "a step that throws",
    () =>
      broken({
        step: () => {
          throw new Error("no idea");
        },
      }),
    /it failed: no idea/,
  ],
  ["a step that gives nothing", () => broken({ step: async () => undefined }), /the result must be/],
  ["responsibilities that are no tensor", () => broken({ result: { responsibilities: [1] } }), /a tensor/],
  [
    "responsibilities of another shape",
    () => broken({ result: { responsibilities: ones(N, K + 1) } }),
    /responsibilities: 3 x 5 where 3 x 4 is needed/,
  ],
  [
    "responsibilities that are not finite",
    () => broken({ result: { responsibilities: holed() } }),
    /those of row 1 sum to NaN/,
  ],
  [
    "responsibilities that do not sum to 1",
    () => broken({ result: { responsibilities: tf.mul(ones(N, K), 2) } }),
    /row 0 sum to 2/,
  ],
  [
    "responsibilities that are below 0 and above 1",
    () => broken({ result: { responsibilities: tf.tile(tf.tensor2d([[2, -1, 0, 0]]), [N, 1]) } }),
    /responsibilities: from 0 to 1 is needed, but row 0 has -1/,
  ],
  [
    "touched as a list",
    () => broken({ result: { touched: [1] } }),
    /touched: the text "all" or an Int32Array/,
  ],
  [
    "touched that is out of range",
    () => broken({ result: { touched: Int32Array.of(0, 4) } }),
    /an index is not below 4/,
  ],
  [
    "scalars that are no numbers",
    () => broken({ result: { scalars: { beta: "1" } } }),
    /scalars: beta: a finite number/,
  ],
  [
    "scalars that are not finite",
    () => broken({ result: { scalars: { beta: Number.NaN } } }),
    /scalars: beta: a finite number/,
  ],
  [
    "prototypes of another shape",
    () => broken({ prototypes: () => ones(K, D + 1) }),
    /prototypes: 4 x 9 where 4 x 8 is needed/,
  ],
  [
    "prototypes that are not of unit length",
    () => broken({ prototypes: () => ones(K, D) }),
    /of unit length/,
  ],
  ["prototypes that throw", () => broken({ prototypes: lost }), /prototypes: it failed: lost/],
  ["prototypes that are not finite", () => broken({ prototypes: () => tf.fill([K, D], Number.NaN) }), /NaN/],
];

describe("a user's plugin", () => {
  before(() => openBackend("wasm"));

  it("that keeps to the contract steps as it would by itself", async () => {
    const h = directions(N, D, 3, "rows");
    const plain = frozen(options);
    const held = checked(frozen(options), "mine.ts");
    const [a, b] = [await plain.step(h, clock), await held.step(h, clock)];
    assert.deepEqual(await b.responsibilities.data(), await a.responsibilities.data());
    assert.deepEqual(b.scalars, a.scalars);
    held.load(await plain.state());
    await checkPrototypes(held.prototypes(), K, D, "mine.ts");
  });

  for (const [what, make, words] of mistakes) {
    it(`is refused for ${what}, with its name and the step, in one sentence`, async () => {
      const h = directions(N, D, 3, "rows");
      await assert.rejects(checked(make(), "mine.ts").step(h, clock), (error) => {
        assert.ok(error instanceof UserError, String(error));
        assert.match(error.message, words);
        assert.match(error.message, /^mine\.ts, step 12: /);
        return true;
      });
    });
  }

  const notSaved: [string, unknown, RegExp][] = [
    ["a plain array", { means: { shape: [2], data: [1, 2] } }, /means: data: a Float32Array is needed/],
    [
      "data that does not fill its shape",
      { means: { shape: [2, 2], data: Float32Array.of(1) } },
      /means: 1 numbers where 2 x 2 is needed/,
    ],
    [
      "data that is not finite",
      { means: { shape: [1], data: Float32Array.of(Number.NaN) } },
      /means: finite numbers are needed/,
    ],
    ["nothing", undefined, /an object of \{shape, data\} is needed/],
  ];
  for (const method of ["state", "parameters"] as const) {
    for (const [what, given, words] of notSaved) {
      it(`writes no ${method} with ${what} to a file, and is named`, async () => {
        const held = checked(broken({ [method]: async () => given }), "mine.ts");
        await assert.rejects(held[method](), (error) => {
          assert.ok(error instanceof UserError, String(error));
          assert.match(error.message, words);
          assert.ok(error.message.startsWith(`mine.ts: ${method}: `), error.message);
          return true;
        });
      });
    }
  }

  it("is named if its state or its prototypes throw outside of a step", async () => {
    const held = checked(broken({ state: lost, prototypes: lost }), "mine.ts");
    await assert.rejects(held.state(), { name: "UserError", message: "mine.ts: state: it failed: lost" });
    assert.throws(() => held.prototypes(), {
      name: "UserError",
      message: "mine.ts: prototypes: it failed: lost",
    });
  });

  for (const [how, dispose] of [
    ["throws", lost],
    ["rejects", async () => lost()],
  ] as const) {
    it(`ends nothing if its dispose ${how}: a warning names it`, async () => {
      const warned = once(process, "warning");
      checked(broken({ dispose }), "mine.ts").dispose();
      assert.match(String(await warned), /mine\.ts: dispose: it failed: lost/);
    });
  }
});
