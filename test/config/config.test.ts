import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { configYaml, loadConfig, parseYaml, resolveConfig } from "../../src/config/load.ts";
import { jsonSchema, markdown } from "../../src/config/reference.ts";
import { UserError } from "../../src/errors.ts";
import { packageRoot } from "../../src/files/paths.ts";

function complaint(settings: unknown, overrides: string[] = []): string {
  try {
    resolveConfig(settings, overrides, "my.yaml");
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return "";
}

describe("configuration", () => {
  it("has the documented defaults", () => {
    const { method, prototypes, plugin, targets } = resolveConfig({});
    assert.equal(method, "dino");
    assert.equal(prototypes, "decoupled");
    assert.deepEqual(plugin.forgetting, { by: "responsibility", retention: 0.99 });
    assert.equal(plugin.prior.strength, "auto");
    assert.equal(plugin.use.share, "auto");
    assert.deepEqual(targets, {
      from: "similarity",
      temperature: 0.04,
      balance: "sinkhorn",
      memory: 0,
      by: "rank",
    });
  });

  for (const pair of ["demo/NAME", "recipe-NAME", "recipe-NAME-lt"]) {
    it(`of ${pair} differs between the arms in the prototypes' origin alone`, async () => {
      const of = (arm: string) => loadConfig(join(packageRoot, `configs/${pair.replace("NAME", arm)}.yaml`));
      const [joint, decoupled] = await Promise.all([of("joint"), of("decoupled")]);
      assert.equal(joint.prototypes, "joint");
      assert.deepEqual({ ...joint, prototypes: "decoupled" }, decoupled);
    });
  }

  it("refuses a pace that asks for more components than there are", () => {
    const problem = complaint({}, ["plugin.use.share=1.5"]);
    assert.match(problem, /plugin\.use\.share is 1\.5; allowed: a number from 0 to 1/);
    assert.doesNotMatch(problem, /\n/);
  });

  it("is the same after writing and reading its YAML", () => {
    const config = resolveConfig({}, [
      "plugin.annealing={cosine: {from: 0.2, to: 1, steps: 500}}",
      "train.lr=1e-4",
    ]);
    assert.deepEqual(resolveConfig(parseYaml(configYaml(config), "x")), config);
  });

  it("applies dotted overrides to the file and leaves the rest", () => {
    const config = resolveConfig({ train: { batch: 64, lr: 0.01 } }, ["train.lr=0.1", "data.train=all"]);
    assert.equal(config.train.batch, 64);
    assert.equal(config.train.lr, 0.1);
  });

  it("names a wrong key and the nearest right one", () => {
    assert.equal(
      complaint({ train: { stp: 3 } }),
      "my.yaml: train.stp is not a setting; the nearest is train.stop",
    );
    assert.equal(complaint({}, ["plugn.x=1"]), "my.yaml: plugn is not a setting; the nearest is plugin");
  });

  it("takes what every object inherits for a wrong key like any other, and leaves it as it is", () => {
    for (const name of ["__proto__", "plugin.__proto__", "constructor.prototype", "train.constructor"]) {
      const wrong = name.replace(".prototype", "");
      assert.ok(complaint({}, [`${name}.polluted=1`]).startsWith(`my.yaml: ${wrong} is not a setting`), name);
      assert.ok(!("polluted" in {}), name);
    }
  });

  const wrong: [string, RegExp][] = [
    ["method=dyno", /method is "dyno"; allowed: dino, ibot, carp, swav, msn, pmsn$/],
    ["train.lr=-1", /train.lr is -1; allowed: a number above 0$/],
    ["targets={balance: center, memory: 64}", /memory is 64, .*balance center keeps no rows; allowed: 0, or/],
    ["targets.memory=-1", /targets.memory is -1; allowed: a number of at least 0$/],
    ["train.batch=1", /train.batch is 1; allowed: a number of at least 2$/],
    [
      "plugin.mixtures=3",
      /mixtures is 3, but 1024 components cannot be split into 3 mixtures of equal size; allowed: div/,
    ],
    ["plugin={mixtures: 8, components: 8}", /8 components cannot be split into 8 mixtures of equal size/],
    ["plugin.components=1.5", /plugin.components is 1.5; allowed: a whole number$/],
    ["plugin.annealing=2", /plugin.annealing is 2; allowed: a number above 0, at most 1$/],
    [
      "plugin.annealing={cosine: {from: 0, to: 1}}",
      /annealing.cosine.from is 0; allowed: a number above 0, at most 1$/,
    ],
    ["plugin.forgetting.retention=1.1", /retention is 1.1; allowed: a number of at most 1$/],
    ["plugin.variance=1e-40", /variance is 1e-40; allowed: a number of at least 1e-9$/],
    ["plugin.variance=1e39", /variance is 1e\+39; allowed: a number of at most 1000000000$/],
    ["plugin.floor=1e39", /floor is 1e\+39; allowed: a number of at most 1000000000$/],
    ["plugin.init.variance=1e-40", /variance is 1e-40; allowed: a number of at least 1e-9$/],
    ["plugin.init.count=1e39", /count is 1e\+39; allowed: a number of at most 1000000000$/],
    ["plugin.prior.strength=1e39", /strength is 1e\+39; allowed: a number from 0 to 1e9$/],
    ["views.globalScale=[0.5, 0.1]", /globalScale is \[0.5,0.1\]; allowed: the first is at most the second$/],
    ["train.stop=6000", /train.stop is 6000; allowed: at most train.steps, which is 5000$/],
    ["data.heldOut=5000", /heldOut is 5000, and data.train all, which leaves no .*; allowed: a number as/],
    [
      "data={train: 100, test: 50, heldOut: 9}",
      /heldOut is 9, and data.test 50; allowed: data\.heldOut or data\.test, not both$/,
    ],
    ["data={name: folder, heldOut: 9}", /heldOut is 9, and data.name folder; allowed: cifar10, cifar10-lt, /],
    ["train=5", /train is 5; allowed: a group of settings$/],
    ["seed", /"seed" is not an override; write key.sub=value/],
  ];
  for (const [override, expected] of wrong) {
    it(`says what is allowed instead of ${override}`, () => {
      assert.match(complaint({}, [override]), expected);
    });
  }

  it("wants one distribution of a row over all prototypes, also of several mixtures", () => {
    const targets = { from: "responsibility", balance: "none" };
    const settings = { plugin: { mixtures: 8 }, targets };
    assert.match(
      complaint(settings),
      /is 8, .* sum to 1 in each mixture; allowed: 1, or targets.balance=sinkhorn, center$/,
    );
    assert.equal(resolveConfig(settings, ["targets.balance=sinkhorn"]).plugin.mixtures, 8);
  });

  it("accepts the paper's mixture as one word, and is the same after reading its record", () => {
    const config = resolveConfig({}, ["plugin.preset=paper", "plugin.annealing=0.8", "plugin.components=64"]);
    const { covariance, weights, forgetting, annealing, components } = config.plugin;
    assert.deepEqual([covariance, weights, annealing, components], ["diagonal", "estimated", 0.8, 64]);
    assert.deepEqual(forgetting, { by: "responsibility", retention: 0.99 });
    assert.deepEqual(
      [config.plugin.prior.strength, config.plugin.use.share],
      [0, 0],
      "the paper has neither",
    );
    assert.deepEqual(resolveConfig(parseYaml(configYaml(config), "x")), config);
    const { annealing: own } = resolveConfig({ plugin: { preset: "paper" } }).plugin;
    assert.deepEqual(own, { cosine: { from: 0.5, to: 1, steps: 500 } });
  });

  for (const [setting, given, allowed] of [
    ["covariance", "shared", '"diagonal"'],
    ["weights", "uniform", '"estimated"'],
    ["forgetting.by", "time", '"responsibility"'],
  ] as const) {
    it(`refuses plugin.${setting} that contradicts the preset`, () => {
      assert.equal(
        complaint({ plugin: { preset: "paper" } }, [`plugin.${setting}=${given}`]),
        `my.yaml: plugin.${setting} is "${given}"; allowed with plugin.preset paper: ${allowed}`,
      );
    });
  }

  it("says every mistake at once, a line each", () => {
    assert.equal(complaint({ seed: -1, method: 3, data: { nam: 1 } }).split("\n").length, 3);
  });

  it("names the file whose aliases have no end or no anchor", () => {
    const levels = Array.from({ length: 9 }, (_, n) => {
      const item = n === 0 ? "x" : `*a${n - 1}`;
      return `a${n}: &a${n} [${Array(9).fill(item).join(", ")}]`;
    });
    for (const [text, words] of [
      [levels.join("\n"), /^my\.yaml: an alias cannot be followed: Excessive alias count/],
      ["train: *missing", /^my\.yaml: an alias cannot be followed: Unresolved alias/],
      ["train: &t {batch: *t}", /^my\.yaml: an anchor contains an alias of itself$/],
    ] as const) {
      assert.throws(() => parseYaml(text, "my.yaml"), { name: "UserError", message: words });
    }
  });

  it("follows an alias", () => {
    assert.deepEqual(parseYaml("a: &x {b: 1}\nc: [*x, *x]", "x"), { a: { b: 1 }, c: [{ b: 1 }, { b: 1 }] });
  });

  it("has its JSON schema and reference up to date (npm run schema)", async () => {
    assert.equal(await readFile(join(packageRoot, "configs", "schema.json"), "utf8"), jsonSchema());
    assert.equal(await readFile(join(packageRoot, "docs", "configuration.md"), "utf8"), markdown());
  });
});
