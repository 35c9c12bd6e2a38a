import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { config as configSchema } from "../../src/config/schema.ts";
import { UserError } from "../../src/errors.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";
import { Centering } from "../../src/plugins/centering.ts";
import { frozen } from "../../src/plugins/frozen.ts";
import { onlineGmm } from "../../src/plugins/online-gmm.ts";
import type { PrototypePlugin, StepResult } from "../../src/plugins/plugin.ts";
import { RunningSinkhorn } from "../../src/plugins/running-sinkhorn.ts";
import { sinkhorn } from "../../src/plugins/sinkhorn.ts";
import { createTargets, type Targets } from "../../src/plugins/targets.ts";
import type { Clock } from "../../src/schedules/schedule.ts";
import { onEachBackend } from "../backend/available.ts";
import { writeNpy } from "../files/write-npy.ts";
import { runPython } from "../reference/python.ts";
import { at, clusteredRows, difference, options } from "./support.ts";

const [N, K, D] = [24, 40, 8];
const TEMPERATURE = 0.04;
/** Less than three batches hold. */
const MEMORY = 30;

/** Similarities of three batches with some prototypes. */
const batches = [1, 2, 3].map((seed) => {
  const prototypes = clusteredRows(K, D, 9, 1.5);
  return clusteredRows(N, D, seed).map((row) =>
    prototypes.map((c) => row.reduce((sum, value, d) => sum + value * (c[d] ?? 0), 0)),
  );
});

const zeros = (shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b)) });

const rowSums = (rows: number[][]) => rows.map((row) => row.reduce((sum, value) => sum + value, 0));
const sumToOne = (rows: number[][]) =>
  difference(
    rowSums(rows),
    rows.map(() => 1),
  ) < 1e-5;

describe("targets against PyTorch in float64", function () {
  this.timeout(60_000);
  let folder: string;
  let expected: { sinkhorn: number[][]; remembering: number[][]; centered: number[][]; center: number[] };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-targets-"));
    for (const [i, batch] of batches.entries())
      await writeNpy(join(folder, `scores${i}.npy`), [N, K], Float32Array.from(batch.flat()));
    const printed: unknown = JSON.parse(
      await runPython("targets.py", folder, String(TEMPERATURE), String(MEMORY)),
    );
    const numbers = z.array(z.number());
    expected = z
      .object({
        sinkhorn: z.array(numbers),
        remembering: z.array(numbers),
        centered: z.array(numbers),
        center: numbers,
      })
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

    it("are Sinkhorn-Knopp's over the batches before too, to 1e-4", async () => {
      const balance = new RunningSinkhorn(MEMORY);
      for (const [i, batch] of batches.entries()) {
        const x = tf.tensor2d(batch);
        const { targets, adopt } = balance.propose(x, TEMPERATURE);
        adopt();
        assert.ok(
          difference([...(await targets.data())], expected.remembering[i] ?? []) < 1e-4,
          `batch ${i}`,
        );
        tf.dispose([x, targets]);
      }
      balance.dispose();
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

/** Targets of a batch after the same batch. */
async function rememberedTwice(logits: number[][]): Promise<number[][]> {
  const [balance, x] = [new RunningSinkhorn(MEMORY), tf.tensor2d(logits)];
  const [first, second] = [balance.propose(x, 1), balance.propose(x, 1)];
  second.discard();
  first.adopt();
  const after = balance.propose(x, 1);
  after.adopt();
  const rows = await after.targets.array();
  tf.dispose([x, ...[first, second, after].map(({ targets }) => targets)]);
  balance.dispose();
  return rows;
}

onEachBackend("targets", () => {
  it("stay finite and balanced if logits are extreme", async () => {
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
    const before = tf.memory().numTensors;
    for (const logits of cases) {
      const balanced = tf.tidy(() => sinkhorn(tf.tensor2d(logits)));
      const rows = await balanced.array();
      const remembering = await rememberedTwice(logits);
      balanced.dispose();
      assert.ok(
        remembering.flat().every(Number.isFinite) && sumToOne(remembering),
        JSON.stringify(remembering),
      );
      assert.ok(
        rows.flat().every((value) => Number.isFinite(value) && value >= 0),
        JSON.stringify(rows),
      );
      assert.ok(sumToOne(rows), JSON.stringify(rows));
    }
    assert.equal(tf.memory().numTensors, before, "what is discarded before the first batch is adopted, too");
  });

  for (const from of ["similarity", "responsibility"] as const) {
    for (const [balance, memory] of [
      ["sinkhorn", 0],
      ["sinkhorn", MEMORY],
      ["center", 0],
      ["none", 0],
    ] as const) {
      it(`from ${from}, balanced by ${balance} with a memory of ${memory}, are rows that sum to 1, and leave no tensor behind`, async () => {
        const plugin = onlineGmm(options({ components: K, cutoff: 0.01 }, { dim: D }));
        const targets = createTargets(configSchema.shape.targets.parse({ from, balance, memory }));
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
    const targets = createTargets(configSchema.shape.targets.parse({ balance: "none", temperature }));
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

  const remembering: Record<string, { config: object; unfit: NamedTensors[]; unknown: RegExp }> = {
    center: {
      config: { balance: "center" },
      unfit: [[1, 4], [5]].map((shape) => ({ center: zeros(shape) })),
      unknown: /has center, which/,
    },
    memory: {
      config: { memory: MEMORY },
      unfit: [
        { logSums: zeros([1, 4]), rows: zeros([1, 1]) },
        { logSums: zeros([1, 5]), rows: zeros([1]) },
        { logSums: zeros([1, 5]) },
      ],
      unknown: /has logSums, which/,
    },
  };
  for (const [what, { config, unfit, unknown }] of Object.entries(remembering)) {
    it(`continue from a saved ${what} bit for bit, and refuse one of another width`, async () => {
      const plugin = frozen(options({ components: 5 }, { dim: D }));
      const begin = () => createTargets(configSchema.shape.targets.parse(config));
      const [unbroken, first, second] = [begin(), begin(), begin()];
      const run = async (targets: typeof first, t: number) => {
        const h = tf.tensor2d(clusteredRows(N, D, t));
        const result = await plugin.step(h, at(t));
        const rows = await adopted(targets, h, plugin, result, at(t));
        const values = await rows.data();
        tf.dispose([h, rows, result.responsibilities]);
        return values;
      };
      assert.deepEqual(await first.state(), {}, "nothing before the first batch");
      for (const t of [0, 1]) await run(unbroken, t);
      await run(first, 0);
      second.load(await first.state());
      assert.deepEqual(await run(second, 1), await run(first, 1));
      assert.deepEqual(await second.state(), await unbroken.state());

      const before = await second.state();
      for (const state of unfit) assert.throws(() => second.load(state), UserError);
      assert.throws(() => createTargets(configSchema.shape.targets.parse({})).load(before), unknown);
      assert.deepEqual(await second.state(), before);
      second.load({});
      assert.deepEqual(await second.state(), {});
      for (const targets of [unbroken, first, second]) targets.dispose();
      plugin.dispose();
    });
  }
});
