import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { UserError } from "../../src/errors.ts";
import { clustering } from "../../src/plugins/clustering.ts";
import { onEachBackend } from "../backend/available.ts";
import { writeNpy } from "../files/write-npy.ts";
import { runPython } from "../reference/python.ts";
import { at, clusteredRows, difference, matrix, take } from "./support.ts";

const [K, D, STEPS] = [10, 8, 4];
const numbers = z.array(z.number());
const reference = z.object({ weights: numbers, losses: numbers, assignments: z.array(numbers) });

describe("clustering with a loss of its own", function () {
  this.timeout(60_000);
  const start = Float32Array.from(clusteredRows(K, D, 5, 1.5).flat());
  const rows = (t: number) => clusteredRows(16, D, t);
  let expected: z.infer<typeof reference>;

  before(async () => {
    const folder = await mkdtemp(join(tmpdir(), "mixhead-clustering-"));
    await writeNpy(join(folder, "start.npy"), [K, D], start);
    for (let t = 0; t < STEPS; t++)
      await writeNpy(join(folder, `rows${t}.npy`), [16, D], Float32Array.from(rows(t).flat()));
    expected = reference.parse(JSON.parse(await runPython("clustering.py", folder, String(STEPS))));
    await rm(folder, { recursive: true });
  });

  onEachBackend("clustering", () => {
    it("walks as PyTorch's autograd and AdamW do in float64", async () => {
      const plugin = clustering({ components: K, dim: D, seed: 1, start });
      for (let t = 0; t < STEPS; t++) {
        const { r, scalars, touched } = await take(plugin, rows(t), at(t));
        assert.ok(difference(r.flat(), expected.assignments[t] ?? []) < 1e-5, `assignments of step ${t}`);
        assert.ok(
          Math.abs((scalars.clusteringLoss ?? 0) - (expected.losses[t] ?? 0)) < 1e-5,
          `loss of step ${t}`,
        );
        assert.equal(touched, "all");
      }
      const state = await plugin.state();
      assert.ok(difference(matrix(state, "weights").flat(), expected.weights) < 1e-5);
      for (const c of matrix(state, "prototypes")) assert.ok(Math.abs(Math.hypot(...c) - 1) < 1e-6);
      plugin.dispose();
    });

    it("continues from a saved state, holds its number of tensors, and is unmoved by a batch that is not finite", async () => {
      const before = tf.memory().numTensors;
      const [unbroken, resumed] = [0, 1].map(() => clustering({ components: K, dim: D, seed: 2 }));
      assert.ok(unbroken && resumed);
      await take(unbroken, rows(0), at(0));
      resumed.load(await unbroken.state());
      const held = tf.memory().numTensors;
      await take(unbroken, rows(1), at(1));
      await assert.rejects(
        take(resumed, [Array(D).fill(Number.NaN)], at(1)),
        /not finite; it changed nothing/,
      );
      await take(resumed, rows(1), at(1));
      assert.deepEqual(await resumed.state(), await unbroken.state());
      assert.equal(tf.memory().numTensors, held);
      assert.throws(() => resumed.load({}), UserError);
      unbroken.dispose();
      resumed.dispose();
      assert.equal(tf.memory().numTensors, before);
    });
  });
});
