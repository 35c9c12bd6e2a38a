import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";
import { plugin as pluginSchema } from "../../src/config/schema.ts";
import {
  accumulate,
  batchSums,
  beginComponents,
  byResponsibility,
  createPlugin,
  estimate,
  sharedCovariance,
  softEStep,
} from "../../src/index.ts";
import type { PrototypePlugin } from "../../src/plugins/plugin.ts";
import { openPlugin } from "../../src/plugins/registry.ts";
import { at, clusteredRows, take } from "./support.ts";

const [K, D] = [12, 8];

describe("the mixture's exported parts", () => {
  before(() => openBackend("wasm"));

  it("make the step of the built-in mixture, bit for bit", async () => {
    const config = pluginSchema.parse({ components: K, use: { share: 0 } });
    const { retention } = config.forgetting;
    const covariance = sharedCovariance(config.variance, false);
    const begun = { components: K, dim: D, seed: 1, covariance, count: 1, prior: true, keepsMeans: false };
    const components = beginComponents(begun);
    const h = tf.tensor2d(clusteredRows(16, D, 3));
    const { responsibilities } = softEStep(covariance, 0)(components, 1)(h);
    const sums = batchSums(responsibilities, h, undefined);
    const next = estimate(accumulate(components, sums, byResponsibility(retention)), 10, undefined);
    const mixture = createPlugin("online-gmm", {
      ...{ components: K, dim: D, seed: 1, config, options: {}, start: undefined },
    });
    await take(mixture, clusteredRows(16, D, 3), at(0));
    assert.deepEqual(await next.prototypes.data(), await mixture.prototypes().data());
    mixture.dispose();
  });
});

describe("examples/reseed.ts", () => {
  const open = (more: object = {}) =>
    openPlugin(
      pluginSchema.parse({
        ...{ kind: "examples/reseed.ts", components: K, options: { idle: 3, rate: 2 } },
        ...more,
      }),
      { dim: D, seed: 1 },
    );
  const rows = (step: number) => clusteredRows(16, D, 100 + step);
  const movedIn = async (plugin: PrototypePlugin, step: number) =>
    (await take(plugin, rows(step), at(step))).scalars.moved;

  before(() => openBackend("wasm"));

  it("moves `rate` idle components a step to the rows that are explained worst", async () => {
    const plugin = await open();
    for (const step of [0, 1]) assert.equal(await movedIn(plugin, step), 0);
    const before = await plugin.prototypes().array();
    assert.equal(await movedIn(plugin, 2), 2);
    const after = await plugin.prototypes().array();
    const given = rows(2).map((row) => row.map(Math.fround).join());
    const moved = after.filter((row, k) => given.includes(row.join()) && row.join() !== before[k]?.join());
    assert.equal(moved.length, 2);
    plugin.dispose();
  });

  it("continues from its state bit for bit", async () => {
    const [plugin, resumed] = [await open(), await open()];
    for (let step = 0; step < 5; step++) await movedIn(plugin, step);
    resumed.load(await plugin.state());
    for (let step = 5; step < 9; step++)
      assert.equal(await movedIn(resumed, step), await movedIn(plugin, step));
    assert.deepEqual(await resumed.state(), await plugin.state());
    for (const one of [plugin, resumed]) one.dispose();
  });

  it("refuses a covariance that it does not support", async () => {
    await assert.rejects(
      open({ covariance: "diagonal" }),
      /reseed\.ts failed to make its plugin: .*must be shared/,
    );
  });
});
