import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { targets as targetsSchema } from "../../src/config/schema.ts";
import { UserError } from "../../src/errors.ts";
import { writeNpy } from "../../src/files/npy.ts";
import { Centering } from "../../src/plugins/centering.ts";
import { frozen } from "../../src/plugins/frozen.ts";
import { onlineGmm } from "../../src/plugins/online-gmm.ts";
import type { PrototypePlugin, StepResult } from "../../src/plugins/plugin.ts";
import { sinkhorn } from "../../src/plugins/sinkhorn.ts";
import { createTargets, type Targets } from "../../src/plugins/targets.ts";
import type { Clock } from "../../src/schedules/schedule.ts";
import { onEachBackend } from "../backend/available.ts";
import { runPython } from "../reference/python.ts";
import { at, clusteredRows, difference, options } from "./support.ts";

const [N, K, D] = [24, 40, 8];
const TEMPERATURE = 0.04;

/** Similarities of three batches with some prototypes. */
const batches = [1, 2, 3].map((seed) => {
  const prototypes = clusteredRows(K, D, 9, 1.5);
  return clusteredRows(N, D, seed).map((row) =>
    prototypes.map((c) => row.reduce((sum, value, d) => sum + value * (c[d] ?? 0), 0)),
  );
});

const rowSums = (rows: number[][]) => rows.map((row) => row.reduce((sum, value) => sum + value, 0));
const sumToOne = (rows: number[][]) =>
  difference(
    rowSums(rows),
    rows.map(() => 1),
  ) < 1e-5;

describe("targets against PyTorch in float64", function () {
  this.timeout(60_000);
  let folder: string;
  let expected: { sinkhorn: number[][]; centered: number[][]; center: number[] };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-targets-"));
    for (const [i, batch] of batches.entries())
      await writeNpy(join(folder, `scores${i}.npy`), [N, K], Float32Array.from(batch.flat()));
    const printed: unknown = JSON.parse(await runPython("targets.py", folder, String(TEMPERATURE)));
    const numbers = z.array(z.number());
    expected = z
      .object({ sinkhorn: z.array(numbers), centered: z.array(numbers), center: numbers })
      .parse(printed);
  });
  after(() => rm(folder, { recursive: true }));

  onEachBackend("targets", () => {
    it("are Sinkhorn-Knopp's to 1e-5", async () => {
      for (const [i, batch] of batches.entries()) {
        const balanced = tf.tidy(() => sinkhorn(tf.div(tf.tensor2d(batch), TEMPERATURE)));
        assert.ok(difference([...(await balanced.data())], expected.sinkhorn[i] ?? []) < 1e-5);
        balanced.dispose();
      }
    });

    it("are centered as lightly's DINOLoss does it, to 1e-5", async () => {
      const centering = new Centering();
      for (const [i, batch] of batches.entries()) {
        const x = tf.tensor2d(batch);
        const { targets, adopt } = centering.propose(x, TEMPERATURE);
        adopt();
        x.dispose();
        assert.ok(difference([...(await targets.data())], expected.centered[i] ?? []) < 1e-5, `batch ${i}`);
        targets.dispose();
      }
      assert.ok(difference([...((await centering.state()).center?.data ?? [])], expected.center) < 1e-6);
      centering.dispose();
    });
  });
});

/** Targets of a step that was taken. */
async function adopted(
  targets: Targets,
  h: tf.Tensor2D,
  plugin: PrototypePlugin,
  { responsibilities }: StepResult,
  clock: Clock,
): Promise<tf.Tensor2D> {
  const made = await targets.propose(h, { prototypes: plugin.prototypes(), responsibilities }, clock);
  made.adopt();
  return made.targets;
}

onEachBackend("targets", () => {
  it("stay finite and balanced where logits are extreme", async () => {
    const cases: number[][][] = [
      [[0, 0, 0]],
      [
        [1e4, -1e4, 0],
        [1e4, -1e4, 0],
      ],
      [
        [500, 0, 0],
        [-500, -500, -500],
        [0, 0, 500],
      ],
      Array.from({ length: 5 }, () => [1, 2, 3]),
    ];
    for (const logits of cases) {
      const balanced = tf.tidy(() => sinkhorn(tf.tensor2d(logits)));
      const rows = await balanced.array();
      balanced.dispose();
      assert.ok(
        rows.flat().every((value) => Number.isFinite(value) && value >= 0),
        JSON.stringify(rows),
      );
      assert.ok(sumToOne(rows), JSON.stringify(rows));
    }
  });

  for (const from of ["similarity", "responsibility"] as const) {
    for (const balance of ["sinkhorn", "center", "none"] as const) {
      it(`from ${from}, balanced by ${balance}, are rows that sum to 1, and leave no tensor behind`, async () => {
        const plugin = onlineGmm(options({ components: K, cutoff: 0.01 }, { dim: D }));
        const targets = createTargets(targetsSchema.parse({ from, balance }));
        const h = tf.tensor2d(clusteredRows(N, D, 1));
        const held: number[] = [];
        for (let t = 0; t < 4; t++) {
          const result = await plugin.step(h, at(t));
          const rows = await adopted(targets, h, plugin, result, at(t));
          const values = await rows.array();
          assert.ok(values.flat().every(Number.isFinite) && sumToOne(values));
          if (from === "responsibility" && balance === "none")
            assert.deepEqual(values, await result.responsibilities.array());
          tf.dispose([rows, result.responsibilities]);
          assert.ok(!h.isDisposed);
          held.push(tf.memory().numTensors);
        }
        assert.equal(new Set(held.slice(1)).size, 1, String(held));
        h.dispose();
        plugin.dispose();
        targets.dispose();
      });
    }
  }

  it("of similarity use the prototypes as the step has left them, at the schedule's temperature", async () => {
    const plugin = onlineGmm(options({ components: K, forgetting: { retention: 0 } }, { dim: D }));
    const temperature = { linear: { from: 0.5, to: 0.1, steps: 2 } };
    const targets = createTargets(targetsSchema.parse({ balance: "none", temperature }));
    const h = tf.tensor2d(clusteredRows(N, D, 1));
    const result = await plugin.step(h, at(1));
    const found = await adopted(targets, h, plugin, result, at(1));
    const expected: tf.Tensor2D = tf.tidy(() =>
      tf.softmax(tf.div(tf.matMul(h, tf.transpose(plugin.prototypes())), 0.3)),
    );
    assert.ok(difference([...(await found.data())], [...(await expected.data())]) < 1e-6);
    tf.dispose([h, found, expected, result.responsibilities]);
    plugin.dispose();
  });

  it("go on from a saved center bit for bit, and refuse one of another width", async () => {
    const config = targetsSchema.parse({ balance: "center" });
    const plugin = frozen(options({ components: 5 }, { dim: D }));
    const [unbroken, first, second] = [createTargets(config), createTargets(config), createTargets(config)];
    const run = async (targets: typeof first, t: number) => {
      const h = tf.tensor2d(clusteredRows(N, D, t));
      const result = await plugin.step(h, at(t));
      const rows = await adopted(targets, h, plugin, result, at(t));
      const values = await rows.data();
      tf.dispose([h, rows, result.responsibilities]);
      return values;
    };
    assert.deepEqual(await first.state(), {}, "no center before the first batch");
    for (const t of [0, 1]) await run(unbroken, t);
    await run(first, 0);
    second.load(await first.state());
    assert.deepEqual(await run(second, 1), await run(first, 1));
    assert.deepEqual(await second.state(), await unbroken.state());

    const before = await second.state();
    for (const center of [
      { shape: [1, 4], data: new Float32Array(4) },
      { shape: [5], data: new Float32Array(5) },
    ])
      assert.throws(() => second.load({ center }), UserError);
    assert.throws(() => createTargets(targetsSchema.parse({})).load(before), /has center, which/);
    assert.deepEqual(await second.state(), before);
    second.load({});
    assert.deepEqual(await second.state(), {});
    for (const targets of [unbroken, first, second]) targets.dispose();
    plugin.dispose();
  });
});
