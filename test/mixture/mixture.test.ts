import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { BatchError } from "../../src/bridge/errors.ts";
import { RunError, UserError } from "../../src/errors.ts";
import type { Mixture, MixtureStep } from "../../src/mixture/mixture.ts";
import { onEachBackend } from "../backend/available.ts";
import { at, bits } from "../plugins/support.ts";
import { batch, D, K, kinds, N, open, own, ownSchedules, ownTargets, parts } from "./support.ts";

const saved = async (mixture: Mixture) => bits(await mixture.state());

/** Targets that keep nothing, a center, and sums of earlier rows. */
const balances = {
  sinkhorn: { by: "plugin", balance: "sinkhorn" },
  center: { by: "plugin", balance: "center" },
  memory: { by: "plugin", balance: "sinkhorn", memory: 40 },
} as const;

/** A state's tensors of the targets, and all others. */
function split(state: Record<string, string>): [string[], Record<string, string>] {
  const entries = Object.entries(state);
  const ofTargets = ([name]: [string, string]) => name.startsWith("targets.");
  return [
    entries.filter(ofTargets).map(([, values]) => values),
    Object.fromEntries(entries.filter((entry) => !ofTargets(entry))),
  ];
}

/** One step on a batch; what it gave is disposed of. */
async function take(mixture: Mixture, step: number, h = batch(step)): Promise<void> {
  try {
    disposeOf(await mixture.step(h, at(step)));
  } finally {
    h.dispose();
  }
}

function disposeOf({ targets, scalars }: MixtureStep): void {
  tf.dispose([targets ?? [], scalars]);
}

/** What a device says of a batch: whether its rows are fit. */
function guard(fit: boolean) {
  return {
    ok: tf.scalar(fit, "bool"),
    check: async () => {
      if (!fit) throw new BatchError("row", "row 7 is not finite or all zero", 7);
    },
  };
}

/** Runs `work`, after which there have to be as many tensors as before it. */
async function leakingNothing(work: () => Promise<void>): Promise<void> {
  const before = tf.memory().numTensors;
  await work();
  assert.equal(tf.memory().numTensors, before, "tensors are left behind");
}

onEachBackend("a step of the mixture", () => {
  const schedules = ownSchedules({
    "leaves its range": ({ step }) => (step < 3 ? 0.1 : 0),
    throws: ({ step }) => {
      if (step === 3) throw new RangeError("no temperature for step 3");
      return 0.1;
    },
  });

  for (const kind of [
    "shared",
    "shared, cutoff",
    "diagonal, estimated weights",
    "kmeans",
    "sinkhorn",
    "own",
  ]) {
    for (const [custom, why] of [
      ["leaves its range", /targets\.temperature is 0 .* must be above 0/],
      ["throws", /no temperature for step 3/],
    ] as const) {
      it(`is not taken by ${kind} if the targets' temperature ${custom}`, async () => {
        const plugin = kind === "own" ? { kind: "custom:own" } : (kinds[kind] ?? {});
        const of = parts(plugin, { by: "plugin", temperature: { custom } });
        const mixture = await open(of, { use: true, values: { schedules, factory: own } });
        for (const step of [0, 1, 2]) await take(mixture, step);
        const before = await saved(mixture);
        await leakingNothing(() => assert.rejects(take(mixture, 3), why));
        assert.deepEqual(await saved(mixture), before);
        mixture.dispose();
      });
    }
  }

  it("is not taken if the plugin's own schedule throws", async () => {
    const of = parts(
      { kind: "online-gmm", annealing: { custom: "throws" } },
      { by: "plugin", balance: "center" },
    );
    const mixture = await open(of, { use: true, values: { schedules, factory: undefined } });
    for (const step of [0, 1, 2]) await take(mixture, step);
    const before = await saved(mixture);
    await leakingNothing(() => assert.rejects(take(mixture, 3), /no temperature for step 3/));
    assert.deepEqual(await saved(mixture), before);
    mixture.dispose();
  });

  for (const [kind, settings] of Object.entries(kinds)) {
    for (const [balance, targets] of Object.entries(balances)) {
      it(`changes nothing for a batch that is not finite: ${kind}, ${balance}`, async () => {
        const mixture = await open(parts(settings, targets), { use: true });
        for (const step of [0, 1]) await take(mixture, step);
        const before = await saved(mixture);
        for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) {
          const rows = await batch(2).array();
          rows[5] = Array.from({ length: D }, () => wrong);
          await leakingNothing(() =>
            assert.rejects(
              take(mixture, 2, tf.tensor2d(rows)),
              (error) => error instanceof RunError && error.code === "bad-batch",
            ),
          );
        }
        assert.deepEqual(await saved(mixture), before);
        mixture.dispose();
      });

      it(`changes nothing if a device says that its batch is unfit: ${kind}, ${balance}`, async () => {
        const mixture = await open(parts(settings, targets), { use: true, device: true });
        const judged = async (step: number, fit: boolean) => {
          const [h, says] = [batch(step), guard(fit)];
          const result = await mixture.step(h, at(step), says);
          assert.ok(Object.values(result.scalars).some((value) => typeof value !== "number"));
          disposeOf(result);
          tf.dispose([h, says.ok]);
        };
        const before = await saved(mixture);
        await judged(0, false);
        const [remembered, others] = split(await saved(mixture));
        assert.deepEqual(others, before);
        for (const values of remembered) assert.match(values, /^0*$/, "of targets, and has not moved");
        await judged(1, true);
        const [taken, held] = [await saved(mixture), tf.memory().numTensors];
        await judged(2, false);
        assert.deepEqual(await saved(mixture), taken);
        await judged(2, true);
        if (kind !== "frozen" || balance !== "sinkhorn") assert.notDeepEqual(await saved(mixture), taken);
        assert.equal(tf.memory().numTensors, held);
        mixture.dispose();
      });
    }
  }

  it("reports a device's unfit batch at once if its plugin needs to know", async () => {
    for (const plugin of [{ kind: "custom:own" }, { init: { from: "data" as const } }]) {
      const mixture = await open(parts(plugin, { by: "plugin" }), {
        use: true,
        device: true,
        values: { schedules, factory: own },
      });
      const before = await saved(mixture);
      await leakingNothing(async () => {
        const [h, says] = [batch(0), guard(false)];
        await assert.rejects(mixture.step(h, at(0), says), /row 7 is not finite or all zero/);
        tf.dispose([h, says.ok]);
      });
      assert.deepEqual(await saved(mixture), before);
      mixture.dispose();
    }
  });

  it("makes winners and responsibilities only on request", async () => {
    for (const settings of Object.values(kinds)) {
      const { plugin } = await open(parts(settings));
      const h = batch(0);
      for (const [responsibilities, winners] of [
        [false, false],
        [true, false],
        [false, true],
        [true, true],
      ] as const) {
        await leakingNothing(async () => {
          const made = await plugin.propose?.(h, at(0), { responsibilities, winners });
          assert.deepEqual(made?.responsibilities?.shape, responsibilities ? [N, K] : undefined);
          assert.deepEqual(made?.winners?.shape, winners ? [plugin.components] : undefined);
          made?.discard();
          tf.dispose([made?.responsibilities ?? [], made?.winners ?? [], made?.scalars ?? {}]);
        });
      }
      h.dispose();
      plugin.dispose();
    }
  });

  it("reports which components are in use only if asked", async () => {
    const [with_, without] = await Promise.all([
      open(parts({}), { use: true }),
      open(parts({}), { use: false }),
    ]);
    const h = batch(0);
    const [one, other] = [await with_.step(h, at(0)), await without.step(h, at(0))];
    assert.ok(Number(one.scalars.used) > 0 && Number(one.scalars.used) <= 1);
    assert.equal(other.scalars.used, undefined);
    const { prototypes, used = new Uint8Array() } = await with_.prototypesInUse();
    assert.deepEqual(prototypes.data, await with_.plugin.prototypes().data());
    const share = used.reduce((sum, one) => sum + one, 0) / used.length;
    assert.ok(
      Math.abs(share - Number(one.scalars.used)) < 1e-6,
      "those who are in use are the share that is",
    );
    assert.equal((await without.prototypesInUse()).used, undefined);
    h.dispose();
    with_.dispose();
    without.dispose();
  });

  for (const from of ["similarity", "responsibility"] as const) {
    for (const [balance, targets] of Object.entries({ ...balances, none: { balance: "none" } as const })) {
      it(`leaves no tensor behind: targets from ${from}, ${balance}`, async () => {
        for (const [kind, settings] of [...Object.entries(kinds), ["own", { kind: "custom:own" }] as const]) {
          const values = { schedules, factory: own };
          const before = tf.memory().numTensors;
          const mixture = await open(parts(settings, { by: "plugin", from, ...targets }), {
            use: true,
            values,
          });
          await take(mixture, 0);
          const held = tf.memory().numTensors;
          for (const step of [1, 2, 3]) await take(mixture, step);
          assert.equal(tf.memory().numTensors, held, kind);
          mixture.dispose();
          assert.equal(tf.memory().numTensors, before, `${kind}, disposed of`);
        }
      });
    }
  }
});

onEachBackend("targets of a plugin's own", () => {
  const of = parts({ kind: "custom:own" }, { from: "plugin", balance: "center" });
  const values = { schedules: new Map(), factory: ownTargets };

  it("are handed on as the plugin makes them with the prototypes after the step, and leave no tensor", async () => {
    await leakingNothing(async () => {
      const mixture = await open(of, { values });
      const h = batch(0);
      for (const step of [0, 1]) {
        const answer = await mixture.step(h, at(step));
        const expected = await mixture.plugin.targets?.(h, at(step));
        assert.deepEqual(await answer.targets?.array(), await expected?.array());
        disposeOf(answer);
        expected?.dispose();
      }
      assert.deepEqual(
        Object.keys(await mixture.state()).filter((name) => name.startsWith("targets")),
        [],
      );
      mixture.dispose();
      h.dispose();
    });
  });

  it("are refused if the plugin makes none, or makes no distributions, in a sentence", async () => {
    await leakingNothing(async () => {
      for (const [kind, factory] of [
        ["online-gmm", undefined],
        ["custom:own", own],
      ] as const)
        await assert.rejects(
          open(parts({ kind }, { from: "plugin" }), { values: { ...values, factory } }),
          /has no method targets, which targets\.from=plugin needs; allowed: similarity, responsibility$/,
        );
    });
    for (const [wrong, words] of [
      [() => tf.ones([N, K + 1]), /targets: 24 x 13 where 24 x 12 is needed/],
      [() => tf.ones([N, K]), /targets: a row must sum to 1, and those of row 0 sum to 12/],
      [() => undefined, /targets must be a tensor/],
      [
        () => {
          throw new Error("no idea");
        },
        /targets: it failed: no idea/,
      ],
    ] as const) {
      const factory: typeof own = async (given) => Object.assign(await own(given), { targets: wrong });
      const mixture = await open(of, { values: { ...values, factory } });
      await assert.rejects(take(mixture, 3), (error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, words);
        assert.match(error.message, /^custom:own, step 3: /);
        return true;
      });
      mixture.dispose();
    }
  });
});

onEachBackend("a state of the mixture", () => {
  const of = parts({}, { by: "plugin", balance: "center" });

  it("that the targets refuse has not been taken by the plugin, nor one that the plugin refuses by the targets", async () => {
    const [mixture, other] = await Promise.all([open(of), open(of, { seed: 4 })]);
    for (const step of [0, 1]) {
      await take(mixture, step);
      await take(other, step + 5);
    }
    const theirs = await other.state();
    const before = await saved(mixture);
    const center = { shape: [1, K + 1], data: new Float32Array(K + 1) };
    const refused = [
      { ...theirs, "targets.center": center },
      { ...theirs, "targets.mode": center },
      { ...theirs, "plugin.means": center },
      { "targets.center": theirs["targets.center"] ?? center },
    ];
    for (const state of refused) {
      await leakingNothing(async () => assert.throws(() => mixture.load(state), UserError));
      assert.deepEqual(await saved(mixture), before);
    }
    mixture.load(theirs);
    assert.deepEqual(await saved(mixture), bits(theirs));
    for (const each of [mixture, other]) each.dispose();
  });

  it("continues bit for bit after saving and loading", async () => {
    for (const [kind, settings] of Object.entries(kinds)) {
      const of = parts(settings, { by: "plugin", balance: "center" });
      const [unbroken, again] = await Promise.all([open(of), open(of)]);
      for (const step of [0, 1, 2]) await take(unbroken, step);
      again.load(await unbroken.state());
      for (const step of [3, 4]) for (const each of [unbroken, again]) await take(each, step);
      assert.deepEqual(await saved(again), await saved(unbroken), kind);
      for (const each of [unbroken, again]) each.dispose();
    }
  });
});
