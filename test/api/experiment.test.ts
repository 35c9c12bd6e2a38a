import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseYaml } from "../../src/config/load.ts";
import { mixhead } from "../cli/command.ts";
import {
  compare,
  experiment,
  frozen,
  type MetricsLine,
  type PluginFactory,
  schedule,
  tf,
  tiny,
  UserError,
  Workplace,
} from "./support.ts";

/** Gives rows that are not finite from its third step on. */
const broken: PluginFactory = async (options) => {
  const inner = await frozen(options);
  const step = inner.step.bind(inner);
  return Object.assign(inner, {
    step: async (h: tf.Tensor2D, clock: { step: number; steps: number; epoch: number }) => {
      const result = await step(h, clock);
      return clock.step < 2
        ? result
        : { ...result, responsibilities: tf.mul(result.responsibilities, Number.NaN) };
    },
  });
};

describe("an experiment in TypeScript", function () {
  this.timeout(120_000);
  const place = new Workplace();
  beforeEach(() => place.enter());
  afterEach(async () => {
    process.exitCode = 0;
    await place.leave();
  });

  it("trains arms with functions in them; one that fails is listed, and the others finish", async () => {
    const heard: MetricsLine[] = [];
    const half = schedule(() => 0.5, "half");
    const options = {
      base: tiny,
      name: "functions",
      quiet: true,
      log: (_: unknown, line: MetricsLine) => heard.push(line),
    };
    const arms = {
      standard: { plugin: { annealing: half } },
      broken: { plugin: { kind: broken } },
      own: { plugin: { kind: frozen } },
    };
    const result = await compare(arms, options);
    assert.equal(process.exitCode, 1);
    assert.deepEqual(Object.keys(result.arms), ["standard", "own"]);
    assert.deepEqual(
      result.trainings.map(({ arm, steps }) => [arm, steps]),
      [
        ["standard", 6],
        ["own", 6],
      ],
    );
    assert.equal(result.failures.length, 1);
    assert.equal(result.failures[0]?.arm, "broken");
    assert.match(
      result.failures[0]?.error ?? "",
      /^custom:broken, step 2: responsibilities: .*row 0 sum to NaN$/,
    );
    assert.equal(heard.filter(({ knn }) => knn !== undefined).length, 5, "five evaluations were heard of");

    const record = parseYaml(await readFile("runs/functions/config.yaml", "utf8"), "record");
    const text = JSON.stringify(record);
    assert.match(text, /"annealing":\{"custom":"half"\}/);
    assert.match(text, /"kind":"custom:frozen"/);
    assert.ok(existsSync("runs/functions/report.html"));
    assert.deepEqual(
      JSON.parse(await readFile("runs/functions/summary.json", "utf8")).failures,
      result.failures,
    );
    const other = { ...arms, standard: {} };
    await assert.rejects(
      compare(other, options),
      /arms\.standard\.plugin\.annealing is .*half.* there, 1 here/,
    );

    const resumed = await mixhead(process.cwd(), "resume", "functions");
    assert.equal(resumed.status, 2);
    assert.match(resumed.stderr, /only from the experiment file .*plugin\.kind of broken is a function/);
  });

  it("takes the last results of a worker that has ended before Node came to them", async () => {
    const slow: PluginFactory = async (options) => {
      const inner = await frozen(options);
      const state = inner.state.bind(inner);
      return Object.assign(inner, {
        state: async () => {
          await sleep(8000); // the checkpoint's other half is written: the worker has only to end
          return state();
        },
      });
    };
    const { arms } = await experiment(
      { ...tiny, train: { ...tiny.train, stop: 3 }, plugin: { kind: slow } },
      { name: "slow", quiet: true },
    );
    assert.equal(arms.decoupled?.steps, 3);
  });

  it("reports an error in the settings before it writes anything", async () => {
    const refuses = (work: Promise<unknown>, words: RegExp) =>
      assert.rejects(work, (error) => error instanceof UserError && words.test(error.message));
    const factory = (value: number): PluginFactory => {
      const made: PluginFactory = (options) => frozen({ ...options, seed: value });
      return made;
    };
    await refuses(experiment({ plugin: { variance: -1 } }, { name: "x" }), /plugin\.variance is -1; allowed/);
    await refuses(
      compare({ a: { seed: 1 }, b: { seed: 2 } }, { name: "x" }),
      /the arms have different seeds/,
    );
    await refuses(
      compare({ a: { plugin: { kind: factory(1) } }, b: { plugin: { kind: factory(2) } } }, { name: "x" }),
      /two functions are called "made"/,
    );
    await refuses(compare({ "a/b": {} }, { name: "x" }), /"a\/b" cannot name an arm/);
    await refuses(experiment({}, { name: "../x" }), /cannot name a run/);
    assert.ok(!existsSync("runs"));
  });

  it("runs from a file anywhere, with the command line's settings; complete, it is shown", async () => {
    const settings = JSON.stringify({ ...tiny, prototypes: "joint" });
    // Not awaited, as it happens: the run is waited for all the same.
    await writeFile("mine.ts", `import { experiment } from "mixhead";\nvoid experiment(${settings});`);
    const command = ["run", "mine.ts", "train.stop=5"];
    const first = await mixhead(process.cwd(), ...command);
    assert.equal(first.status, 0, first.stderr);
    assert.match(first.stdout, /joint .* 5 +1 [\s\S]*runs\/mine\/report\.html/);
    const again = await mixhead(process.cwd(), ...command);
    assert.match(again.stderr, /runs\/mine is complete with this configuration: nothing is trained again/);
    assert.equal(again.stdout, first.stdout);
  });

  const files: [string, string, RegExp][] = [
    ["does not parse", "const a = {;", /^mixhead: bad\.ts cannot be loaded: line 1: /],
    [
      "throws",
      "interface A { a: number }\n\nconst a = JSON.parse('null') as A;\nconsole.log(a.a);",
      /^mixhead: bad\.ts, line 4: Cannot read properties of null/,
    ],
    [
      "asks for what is not allowed",
      'import { experiment } from "mixhead";\nexperiment({ train: { stp: 3 } } as never);',
      /^mixhead: experiment: train\.stp is not a setting; the nearest is train\.stop/,
    ],
  ];
  for (const [what, text, words] of files) {
    it(`of which the file ${what} ends in one sentence, with status 2`, async () => {
      await writeFile("bad.ts", text);
      const { status, stderr } = await mixhead(process.cwd(), "run", "bad.ts");
      assert.equal(status, 2, stderr);
      assert.match(stderr, words);
      assert.equal(stderr.trim().split("\n").length, 1, stderr);
    });
  }
});
