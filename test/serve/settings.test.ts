import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RejectError } from "../../src/bridge/errors.ts";
import type { Hello } from "../../src/bridge/room.ts";
import { UserError } from "../../src/errors.ts";
import { readSettings, type Settings, settingsFor } from "../../src/serve/settings.ts";

const hello = (more: Partial<Hello> = {}): Hello => ({
  run: "r",
  mixture: "default",
  rank: 0,
  world: 1,
  components: 32,
  dim: 8,
  start: "",
  config: "",
  secret: "",
  executor: 0,
  device: "",
  ...more,
});
const nothing: Settings = { given: {}, source: "settings" };

describe("the settings of a served mixture", () => {
  it("takes K and D from the hello if the configuration does not set them", () => {
    const { components, dim, targets, config } = settingsFor(hello(), nothing);
    assert.deepEqual({ components, dim, targets }, { components: 32, dim: 8, targets: false });
    assert.equal(config.plugin.components, 32);
    assert.equal(settingsFor(hello({ components: 0 }), nothing).components, 1024);
  });

  it("applies a hello's settings over the configuration", () => {
    const given = { seed: 3, plugin: { variance: 0.1, prior: { strength: 5 } } };
    const asked = JSON.stringify({ plugin: { prior: { strength: 1 } }, train: { steps: 7 } });
    const { config, targets } = settingsFor(hello({ config: asked }), { given, source: "file" });
    assert.equal(config.seed, 3);
    assert.equal(config.plugin.variance, 0.1);
    assert.equal(config.plugin.prior.strength, 1);
    assert.equal(config.train.steps, 7);
    assert.equal(targets, false);
  });

  it("sends targets to those who ask for them", () => {
    const { config, targets } = settingsFor(hello({ config: '{"targets":{"balance":"none"}}' }), nothing);
    assert.deepEqual([targets, config.targets.balance], [true, "none"]);
  });

  it("rejects sizes that differ, and a hello without a dimension", () => {
    const given = { plugin: { components: 16 }, head: { dim: 4 } };
    const rejects = (more: Partial<Hello>, pattern: RegExp) =>
      assert.throws(
        () => settingsFor(hello(more), { given, source: "file" }),
        (error) => {
          assert.ok(error instanceof RejectError);
          assert.equal(error.code, "shape");
          assert.match(error.message, pattern);
          return true;
        },
      );
    rejects({}, /has 32 prototypes; the configuration says 16/);
    rejects({ components: 16 }, /has 8 dimensions; the configuration says 4/);
    assert.throws(() => settingsFor(hello({ dim: 0 }), nothing), /does not say its embeddings' dimension/);
  });

  it("rejects settings that are not JSON, not a mixture's, or not allowed, each in a sentence", () => {
    const rejects = (config: string, pattern: RegExp) =>
      assert.throws(() => settingsFor(hello({ config }), nothing), pattern);
    rejects("{", /settings that are not JSON/);
    rejects('{"bridge":{}}', /a hello cannot set: .*bridge.*; allowed: seed, plugin, targets, train\.steps/);
    rejects('{"plugin":{"variance":-1}}', /plugin\.variance is -1/);
    rejects('{"plugin":{"varience":1}}', /varience/);
    rejects('{"plugin":{"components":"many"}}', /plugin\.components is "many"/);
  });

  it("takes the schedule that a hello asks for in place of the server's", () => {
    const given = { plugin: { annealing: { cosine: { from: 0.2, to: 1 } } } };
    const linear = { linear: { from: 0.5, to: 1 } };
    const asking = hello({ config: JSON.stringify({ plugin: { annealing: linear } }) });
    assert.deepEqual(settingsFor(asking, { given, source: "file" }).config.plugin.annealing, linear);
  });

  it("takes a plugin in a file from the server's own configuration, or from the script that owns the server", () => {
    const asking = hello({ config: '{"plugin":{"kind":"/elsewhere/mine.ts"}}' });
    assert.throws(
      () => settingsFor(asking, nothing),
      /start the shared server with plugin\.kind=\/elsewhere\/mine\.ts$/,
    );
    const given = { plugin: { kind: "/elsewhere/mine.ts" } };
    for (const { config } of [
      settingsFor(asking, nothing, true),
      settingsFor(asking, { given, source: "file" }),
      settingsFor(hello(), { given, source: "file" }),
    ])
      assert.equal(config.plugin.kind, "/elsewhere/mine.ts");
  });

  it("reads a file and overrides, and refuses both in a sentence at once", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    const file = join(folder, "serve.yaml");
    await writeFile(file, "plugin: {components: 64}\n");
    const { given } = await readSettings(file, ["plugin.variance=0.5"]);
    assert.deepEqual(given, { plugin: { components: 64, variance: 0.5 } });
    assert.deepEqual((await readSettings(undefined, [])).given, {});
    await writeFile(file, "plugin: {components: none}\n");
    await assert.rejects(readSettings(file, []), UserError);
    await writeFile(file, "a list\n");
    await assert.rejects(readSettings(file, []), /a configuration is a map of settings/);
    await assert.rejects(readSettings(join(folder, "nowhere.yaml"), []), /cannot be read/);
    await rm(folder, { recursive: true });
  });
});
