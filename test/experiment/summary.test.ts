import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { noteFailure } from "../../src/experiment/failure.ts";
import { MetricsLog } from "../../src/experiment/metrics-log.ts";
import { saveProbe } from "../../src/experiment/probe.ts";
import { openRun, type Run } from "../../src/experiment/run-folder.ts";
import { interval, pairedTest } from "../../src/experiment/statistics.ts";
import { difference, readTrainings, summarise } from "../../src/experiment/summary.ts";
import { differencesAndFailures } from "../../src/report/differences.ts";
import type { ProbeFigures } from "../../src/report/probe-figures.ts";
import { Workplace } from "../api/support.ts";

const KNN: Record<string, number[]> = {
  joint: [0.4, 0.42, 0.44],
  decoupled: [0.45, 0.48, 0.46],
  broken: [0.3, 0.3, 0.3],
};

const LINEAR: Record<string, number[]> = {
  joint: [0.5, 0.52, 0.51],
  decoupled: [0.56, 0.57, 0.58],
  broken: [0.3, 0.3, 0.3],
};

/** What a probe finds on a long-tailed set: all but the tail are as accurate as the whole. */
function probeOf(linear: number, tail: number | null): ProbeFigures {
  const part = { knn: linear - 0.1, linear };
  const figures = {
    knn: { "10": 0, "20": linear - 0.1, "100": 0, "200": 0 },
    linear,
    linearRate: 0.1,
    perClass: { knn: [null], linear: [null] },
    groups: { head: part, medium: part, tail: { knn: tail, linear: tail } },
  };
  return { ...figures, balanced: { ...figures, knn: { "20": linear }, linear: linear + 0.1 } };
}

describe("the summary of a run", () => {
  const place = new Workplace();
  let run: Run;

  beforeEach(async () => {
    await place.enter();
    const arms = new Map(Object.keys(KNN).map((arm) => [arm, resolveConfig({})]));
    run = await openRun("a", arms, [5, 6, 7]);
    for (const { arm, seed, folder } of run.jobs) {
      const log = new MetricsLog(join(folder, "metrics.jsonl"));
      const rest = { unique: { "0.5": 0.8 }, used: 0.5, perplexity: 10 };
      await log.append({ step: 0, knn: 0.3, ...rest, seconds: 1 });
      await log.append({ step: 9, knn: KNN[arm]?.[seed - 5], ...rest, seconds: 3 });
      const checkpoint = join(folder, "checkpoints", "step-0000009"); // after the linear probe
      await mkdir(checkpoint, { recursive: true });
      await writeFile(join(checkpoint, "clock.json"), '{"step":9,"seconds":4,"metricsBytes":0}');
    }
  });
  afterEach(() => place.leave());

  it("has means, intervals, and paired differences from the first arm", async () => {
    const { arms, differences, failures, untrained } = await summarise(run);
    assert.equal(untrained.knn, 0.3);
    assert.equal(failures, undefined);
    assert.deepEqual(arms.joint?.interval?.knn, interval(KNN.joint ?? []));
    assert.equal(arms.joint?.seconds, 12);
    assert.deepEqual(differences?.[0], {
      arms: ["decoupled", "joint"],
      seeds: [5, 6, 7],
      knn: pairedTest(KNN.decoupled ?? [], KNN.joint ?? []),
    });
    assert.equal(differences?.length, 2);
  });

  it("has linear accuracy, groups and balanced references as means, intervals and paired differences", async () => {
    for (const { arm, seed, folder } of run.jobs) {
      const tail = arm === "joint" && seed === 6 ? null : 0.2 + 0.1 * (seed - 5);
      await saveProbe(folder, { figures: probeOf(LINEAR[arm]?.[seed - 5] ?? 0, tail), nearest: {} });
    }
    const { arms, differences } = await summarise(run);
    const { joint, decoupled } = arms;
    assert.equal(joint?.linear?.toFixed(6), "0.510000");
    assert.deepEqual(joint?.interval, {
      knn: interval(KNN.joint ?? []),
      linear: interval(LINEAR.joint ?? []),
    });
    assert.equal(decoupled?.groups?.head.knn?.toFixed(6), "0.470000");
    assert.equal(decoupled?.groups?.tail.linear?.toFixed(6), "0.300000");
    assert.equal(joint?.groups?.tail.knn, null, "one seed has no test image of the tail");
    assert.equal(decoupled?.balanced?.knn.toFixed(6), "0.570000");
    assert.equal(decoupled?.balanced?.linear.toFixed(6), "0.670000");
    assert.deepEqual(differences?.[0]?.linear, pairedTest(LINEAR.decoupled ?? [], LINEAR.joint ?? []));
    const trainings = await readTrainings(run);
    assert.equal(trainings[0]?.linear, 0.5);
    assert.match(
      differencesAndFailures(await summarise(run)),
      /p +linear, points +95 % interval +p +seeds\n.*\+6\.0 /,
    );
  });

  it("has no linear accuracy of an arm of which a seed was not probed, as older runs were not", async () => {
    for (const { arm, seed, folder } of run.jobs) {
      if (arm === "broken" || seed === 7) continue;
      await saveProbe(folder, { figures: probeOf(LINEAR[arm]?.[seed - 5] ?? 0, 0.1), nearest: {} });
    }
    const { arms, differences } = await summarise(run);
    assert.deepEqual(
      [arms.joint?.linear, arms.joint?.groups, arms.joint?.balanced],
      [undefined, undefined, undefined],
    );
    assert.deepEqual(Object.keys(arms.joint?.interval ?? {}), ["knn"]);
    assert.equal(differences?.[0]?.linear, undefined);
  });

  it("has what is distinct and used as means and intervals, of the epsilons at which every seed has it", async () => {
    const own: Record<string, number[]> = { joint: [0.1, 0.2, 0.6], decoupled: [0.5, 0.7] };
    for (const { arm, seed, folder } of run.jobs) {
      const share = own[arm]?.[seed - 5];
      const log = new MetricsLog(join(folder, "metrics.jsonl"));
      const rest = { unique: { "0.5": 0.8 }, used: 0.5, perplexity: 10, seconds: 5 };
      const distinctUsed = share === undefined ? {} : { distinctUsed: { "0.5": share } };
      await log.append({ step: 10, knn: 0.5, ...rest, ...distinctUsed });
    }
    const { arms } = await summarise(run);
    assert.equal(arms.joint?.distinctUsed?.["0.5"]?.toFixed(6), "0.300000");
    assert.deepEqual(arms.joint?.interval?.distinctUsed?.["0.5"], interval(own.joint ?? []));
    const { decoupled } = arms;
    assert.deepEqual([decoupled?.distinctUsed, decoupled?.interval?.distinctUsed], [undefined, undefined]);
    assert.equal((await readTrainings(run))[0]?.distinctUsed?.["0.5"], 0.1);
  });

  it("names an evaluation.json that is damaged", async () => {
    await writeFile(`${run.jobs[0]?.folder}/evaluation.json`, '{"knn": 3}');
    await assert.rejects(summarise(run), /evaluation\.json is damaged/);
  });

  it("leaves out trainings that failed, lists them, and pairs the seeds that are left", async () => {
    for (const job of run.jobs) {
      if (job.arm === "broken") await noteFailure(job, "the plugin is broken");
      if (job.label === "joint (seed 6)") await noteFailure(job, "the worker was killed");
    }
    const summary = await summarise(run);
    assert.deepEqual(Object.keys(summary.arms), ["joint", "decoupled"]);
    assert.deepEqual(summary.arms.joint?.seeds, [5, 7]);
    assert.deepEqual(summary.differences?.[0]?.seeds, [5, 7]);
    assert.equal(summary.failures?.length, 4);
    const text = differencesAndFailures(summary);
    assert.match(text, /decoupled less joint +\+3\.5 +-\S+ to \+\S+ +0\.\d{3} +2/);
    assert.match(text, /failed: joint, seed 6: the worker was killed/);
  });

  it("compares any two arms, if they have two seeds in common", async () => {
    const trainings = await readTrainings(run);
    const of = (arm: string) => trainings.filter((training) => training.arm === arm);
    assert.ok((difference(of("broken"), of("decoupled"))?.knn.mean ?? 0) < 0);
    assert.equal(difference(of("joint").slice(0, 1), of("decoupled")), null);
  });
});
