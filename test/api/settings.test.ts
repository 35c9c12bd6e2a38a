import assert from "node:assert/strict";
import { resolveArms } from "../../src/api/arms.ts";
import { invocation, setInvocation } from "../../src/api/invocation.ts";
import { describeSettings } from "../../src/api/settings.ts";
import { variations } from "../../src/api/vary.ts";
import { UserError } from "../../src/errors.ts";
import { cosine, frozen, type PluginFactory, type Settings, schedule, type Vary } from "./support.ts";

const myPlugin: PluginFactory = frozen;

describe("settings with functions in them", () => {
  it("become a record that names the functions, and the functions by these names", () => {
    const ramp = schedule(({ step }) => step / 100, "ramp");
    const path = { from: 0.2, to: 1, steps: 500 };
    const settings: Settings = {
      prototypes: "decoupled",
      plugin: { kind: myPlugin, annealing: cosine(path), prior: { strength: ramp } },
      targets: { temperature: schedule(() => 0.04) },
    };
    const { record, values } = describeSettings(settings);
    assert.deepEqual(record, {
      prototypes: "decoupled",
      plugin: { kind: "custom:frozen", annealing: { cosine: path }, prior: { strength: { custom: "ramp" } } },
      targets: { temperature: { custom: "() => 0.04" } },
    });
    assert.equal(values.factory, myPlugin);
    assert.equal(values.schedules.get("ramp"), ramp);
    assert.deepEqual([...values.schedules.keys()], ["ramp", "() => 0.04"], "a cosine needs no function");
  });

  it("name an anonymous factory after the experiment file", () => {
    const before = invocation();
    setInvocation({ ...before, file: "somewhere/reseed.ts" });
    try {
      const withStart = (): PluginFactory => (given) => myPlugin(given);
      for (const plugin of [
        { kind: withStart() },
        { kind: (given) => myPlugin(given) },
      ] satisfies Settings["plugin"][])
        assert.deepEqual(describeSettings({ plugin }).record, { plugin: { kind: "custom:reseed" } });
    } finally {
      setInvocation(before);
    }
  });

  it("are refused if a function cannot stand, or two have one name", () => {
    const annealing: unknown = () => 1;
    assert.throws(() => describeSettings({ plugin: { annealing } }), /plugin\.annealing is a function/);
    const [a, b] = [schedule(() => 1, "mine"), schedule(() => 0.5, "mine")];
    assert.throws(
      () => describeSettings({ plugin: { annealing: a, prior: { strength: b } } }),
      /two functions are called "mine"/,
    );
  });

  it("of an arm override those of all arms; a schedule is replaced as a whole", () => {
    const base = { train: { warmup: 5, lr: 0.01 }, plugin: { annealing: cosine({ from: 0.5, to: 1 }) } };
    const linear = { linear: { from: 0.1, to: 1 } };
    const [a, b] = resolveArms(base, [
      ["a", { train: { lr: 0.02 }, plugin: { annealing: linear } }],
      ["b", { train: { warmup: 7 }, plugin: { components: 8 } }],
    ]);
    assert.deepEqual([a?.[1].train.warmup, a?.[1].train.lr, a?.[1].plugin.annealing], [5, 0.02, linear]);
    assert.deepEqual([b?.[1].train.warmup, b?.[1].plugin.components], [7, 8]);
    assert.deepEqual(b?.[1].plugin.annealing, { cosine: { from: 0.5, to: 1 } });
  });

  it("pass options to a plugin in a file, and refuse them for a function", () => {
    const [a] = resolveArms({ plugin: { kind: "mine.ts", options: { rate: 1, idle: 2 } } }, [
      ["a", { plugin: { options: { rate: 0.1, custom: "a word" } } }],
    ]);
    assert.deepEqual(a?.[1].plugin.options, { rate: 0.1, idle: 2, custom: "a word" });
    assert.throws(
      () => resolveArms({ plugin: { options: { rate: 1 } } }, [["a", { plugin: { kind: myPlugin } }]]),
      /a: plugin\.kind is a function, which takes no plugin\.options/,
    );
  });

  it("that are wrong are explained with the arm's name", () => {
    assert.throws(
      () => resolveArms({}, [["mine", { train: { stp: 3 } }]]),
      (error) =>
        error instanceof UserError &&
        error.message === "mine: train.stp is not a setting; the nearest is train.stop",
    );
  });
});

describe("a sweep", () => {
  it("varies the options of a plugin in a file", () => {
    const vary: Vary = { "plugin.options.rate": [0.1] };
    assert.deepEqual(variations(vary), [
      { name: "rate=0.1", settings: { plugin: { options: { rate: 0.1 } } } },
    ]);
  });

  it("has an arm for every combination, named by the settings' last words", () => {
    const vary: Vary = { "plugin.components": [256, 1024], "plugin.forgetting.retention": [0.9] };
    assert.deepEqual(variations(vary), [
      {
        name: "components=256 retention=0.9",
        settings: { plugin: { components: 256, forgetting: { retention: 0.9 } } },
      },
      {
        name: "components=1024 retention=0.9",
        settings: { plugin: { components: 1024, forgetting: { retention: 0.9 } } },
      },
    ]);
  });

  it("gives values that are not words a name that a folder can have", () => {
    const names = variations({
      "plugin.annealing": [1, cosine({ from: 0.2, to: 1, steps: 9 })],
      "views.globalScale": [[0.3, 1]],
      "data.name": ["cifar10"],
      "encoder.name": ["conv-small"],
    }).map(({ name }) => name);
    assert.deepEqual(names, [
      "annealing=1 globalScale=0.3-1 data.name=cifar10 encoder.name=conv-small",
      "annealing=cosine-0.2-to-1-9-steps globalScale=0.3-1 data.name=cifar10 encoder.name=conv-small",
    ]);
  });

  it("of nothing, or of two values with one name, is refused", () => {
    assert.throws(() => variations({}), UserError);
    assert.throws(() => variations({ "train.lr": [] }), /train\.lr needs a list of values/);
    assert.throws(() => variations({ "train.lr": [0.1, 0.1] }), /an arm called "lr=0\.1"/);
  });
});
