import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFailures } from "../../src/experiment/failure.ts";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { readRun } from "../../src/experiment/run-folder.ts";
import { runToEnd } from "../../src/terminal/run-to-end.ts";
import { difference } from "../plugins/support.ts";
import { experiment, openSession, tf, tiny, UserError, Workplace } from "./support.ts";

const quiet = { quiet: true };

/** The measurements of a training, but for times. */
async function figures(folder: string) {
  const lines = await readMetrics(`${folder}/metrics.jsonl`);
  assert.ok(lines.length > 0, folder);
  return lines.map(({ seconds, stepSeconds, loadSeconds, waitSeconds, ...line }) => line);
}

/** Processes that this one has started and that are there yet. */
function children(): string[] {
  const list = execFileSync("ps", ["-eo", "ppid=,args="], { encoding: "utf8" }).split("\n");
  return list.filter((line) => Number(line.trim().split(" ")[0]) === process.pid && !line.includes("ps -eo"));
}

describe("a loop over the steps of a session", function () {
  this.timeout(120_000);
  const place = new Workplace();
  const before = children();
  beforeEach(() => place.enter());
  afterEach(() => place.leave());

  it("with the standard answers equals the decoupled arm bit for bit, also after an interruption", async () => {
    const settings = { ...tiny, train: { ...tiny.train, evaluateEvery: 3 } };
    await experiment(settings, { name: "arm", ...quiet });

    const first = await openSession(settings, { name: "loop", ...quiet });
    for await (const step of first.steps()) {
      step.answer(await first.mixture.step(step));
      first.memory.last = { shape: [1], data: Float32Array.of(step.clock.step) };
      if (step.clock.step === 3) break;
    }
    assert.deepEqual(children(), before, "no worker is left");
    await assert.rejects(first.result(), /continue with: run the experiment file again/);
    await assert.rejects(
      runToEnd(await readRun("loop"), quiet),
      /only from the experiment file .* plugin\.kind of loop is a function/,
    );

    const taken: number[] = [];
    const second = await openSession(settings, { name: "loop", ...quiet });
    for await (const step of second.steps()) {
      if (taken.length === 0) assert.deepEqual(second.memory.last?.data, Float32Array.of(3));
      taken.push(step.clock.step);
      step.answer(await second.mixture.step(step));
    }
    assert.deepEqual(taken, [4, 5]);
    assert.deepEqual(await figures("runs/loop/loop"), await figures("runs/arm/decoupled"));
    assert.equal((await second.result()).trainings[0]?.steps, 6);
    const third = await openSession(settings, { name: "loop", ...quiet });
    for await (const step of third.steps()) assert.fail(`step ${step.clock.step} of a complete run`);
  });

  it("computes the same on the rank's device to rounding, and bit for bit after an interruption", async () => {
    const train = { ...tiny.train, evaluateEvery: 6 };
    const plugin = { components: 32, cutoff: 0.01 };
    const targets = { balance: "center" } as const;
    const run = async (placement: "host" | "device", name: string, stops: readonly number[] = []) => {
      const settings = { ...tiny, train, plugin, targets, placement };
      for (const stop of [...stops, Number.POSITIVE_INFINITY]) {
        const session = await openSession(settings, { name, ...quiet });
        for await (const step of session.steps()) {
          step.answer(await session.mixture.step(step));
          if (step.clock.step === stop) break;
        }
      }
      return figures(`runs/${name}/loop`);
    };
    const whole = await run("device", "whole");
    assert.deepEqual(await run("device", "broken", [1, 3]), whole);
    const host = await run("host", "host");
    assert.equal(whole.length, host.length);
    const losses = (lines: typeof whole) => lines.flatMap(({ loss }) => loss ?? []);
    assert.ok(losses(whole).length > 0);
    assert.ok(difference(losses(whole), losses(host)) < 5e-3, `${losses(whole)} and ${losses(host)}`);
    assert.deepEqual(children(), before, "no worker is left");
  });

  it("accepts any targets, prototypes and rates, and logs the scalars of an answer", async () => {
    const settings = { ...tiny, train: { ...tiny.train, stop: 10 } };
    const session = await openSession(settings, { name: "own", ...quiet });
    const c = tf.tensor2d(session.prototypes.data.slice(), [32, 64]);
    const tensors = tf.memory().numTensors;
    for await (const step of session.steps()) {
      assert.deepEqual(step.embeddings.shape, [step.rows.n, 64]);
      const targets = tf.tidy(() => tf.softmax(tf.div(tf.matMul(step.embeddings, tf.transpose(c)), 0.1)));
      step.answer({
        targets: tf.reshape(targets, [step.rows.n, 32]),
        rows: tf.clone(c),
        scalars: { mine: step.clock.step },
        clock: { lr: 0 },
      });
      targets.dispose();
    }
    assert.ok(tf.memory().numTensors <= tensors, "no tensor of a step is left");
    const lines = await figures("runs/own/loop");
    const [knn, later] = lines.flatMap((line) => line.knn ?? []);
    assert.ok(lines.some(({ mine }) => mine === 9));
    assert.equal(lines.find(({ mine }) => mine === 9)?.entropy, undefined, "the mixture was not asked");
    assert.ok(knn !== undefined && later !== undefined);
  });

  it("ends its worker if the body throws, and if a step is not answered", async () => {
    const throwing = await openSession(tiny, { name: "throws", ...quiet });
    await assert.rejects(async () => {
      for await (const step of throwing.steps()) {
        await assert.rejects(experiment(tiny, quiet), /the loop of a session is open/);
        throw new RangeError(`in the body at ${step.clock.step}`);
      }
    }, /in the body at 0/);
    assert.deepEqual(children(), before);

    const silent = await openSession(tiny, { name: "silent", ...quiet });
    await assert.rejects(
      async () => {
        for await (const step of silent.steps()) {
          if (step.clock.step === 1) continue;
          step.answer(await silent.mixture.step(step));
          assert.throws(() => step.answer({ targets: step.embeddings }), /answered already/);
        }
      },
      (error) =>
        error instanceof UserError &&
        error.message ===
          "step 1 was not answered: call step.answer({ targets, ... }) in the body of the loop",
    );
    assert.deepEqual(children(), before);
  });

  for (const [what, leaves] of [
    ["goes on", false],
    ["is left", true],
  ] as const) {
    it(`records what is wrong with an answer, if the loop ${what}`, async () => {
      const session = await openSession(tiny, { name: "wrong", ...quiet });
      const reason = "step 1: targets: row 0 is not finite";
      const loop = async () => {
        for await (const step of session.steps()) {
          const { targets, ...answer } = await session.mixture.step(step);
          if (step.clock.step === 1) targets.data.fill(Number.NaN);
          step.answer({ ...answer, targets });
          if (leaves && step.clock.step === 1) break;
        }
      };
      if (leaves) await loop();
      else await assert.rejects(loop(), { name: "UserError", message: reason });
      await assert.rejects(session.result(), { message: `loop: ${reason}` });
      assert.deepEqual(await readFailures(await readRun("wrong")), [{ arm: "loop", seed: 0, error: reason }]);
      assert.deepEqual(children(), before);
    });
  }

  it("is refused for an arm that sends no embeddings", async () => {
    await assert.rejects(
      openSession({ ...tiny, prototypes: "joint" }, { name: "x" }),
      /only a decoupled arm sends/,
    );
  });
});
