import assert from "node:assert/strict";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { noteFailure } from "../../src/experiment/failure.ts";
import { MetricsLog } from "../../src/experiment/metrics-log.ts";
import { openRun, type Run } from "../../src/experiment/run-folder.ts";
import { interval, pairedTest } from "../../src/experiment/statistics.ts";
import { difference, readTrainings, summarise } from "../../src/experiment/summary.ts";
import { differencesAndFailures } from "../../src/report/differences.ts";
import { Workplace } from "../api/support.ts";

const KNN: Record<string, number[]> = {
  joint: [0.4, 0.42, 0.44],
  decoupled: [0.45, 0.48, 0.46],
  broken: [0.3, 0.3, 0.3],
};

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
      await log.append({ step: 9, knn: KNN[arm]?.[seed - 5], ...rest, seconds: 4 });
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
    assert.match(text, /decoupled less joint +\+3\.5 % +-\S+ % to \+\S+ % +0\.\d{3} +2/);
    assert.match(text, /failed: joint, seed 6: the worker was killed/);
  });

  it("compares any two arms, where they have two seeds in common", async () => {
    const trainings = await readTrainings(run);
    const of = (arm: string) => trainings.filter((training) => training.arm === arm);
    assert.ok((difference(of("broken"), of("decoupled"))?.knn.mean ?? 0) < 0);
    assert.equal(difference(of("joint").slice(0, 1), of("decoupled")), null);
  });
});
