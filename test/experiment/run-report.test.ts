import assert from "node:assert/strict";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../../src/errors.ts";
import { noteFailure } from "../../src/experiment/failure.ts";
import { lockRun } from "../../src/experiment/lock.ts";
import { saveProbe } from "../../src/experiment/probe.ts";
import { reportData } from "../../src/experiment/run-report.ts";
import { reportHtml } from "../../src/report/html.ts";
import { Workplace } from "../api/support.ts";
import { leaveRun } from "./leave-run.ts";

describe("the report of what runs have left", () => {
  const place = new Workplace();
  before(() => tf.setBackend("wasm"));
  beforeEach(() => place.enter());
  afterEach(() => place.leave());

  const said = (remarks: readonly { arm: string | null; level: string; text: string }[]) =>
    remarks.map(({ arm, level, text }) => `${arm} ${level}: ${text}`);

  it("has curves of every seed, what the last evaluation kept, and no remark on a complete run", async () => {
    const data = await reportData([await leaveRun("a", { seeds: [0, 1] })]);
    assert.deepEqual(data.remarks, []);
    assert.deepEqual(
      data.arms.map(({ name, trainings }) => [name, trainings.map(({ seed }) => seed)]),
      [
        ["joint", [0, 1]],
        ["decoupled", [0, 1]],
      ],
    );
    const [arm] = data.arms;
    assert.deepEqual(arm?.classNames, ["cat", "dog", "frog"]);
    assert.deepEqual(arm?.classCounts, [50, 20, 10]);
    assert.deepEqual(arm?.probes, []);
    const last = arm?.trainings[0]?.measurements.at(-1);
    assert.deepEqual([last?.step, last?.effectiveRank, last?.loss], [100, 5, undefined]);
    assert.equal(last?.distinctUsed?.["0.5"], 0.4);
  });

  it("shows a run that was measured before there was distinctUsed, with dashes in its place", async () => {
    const [now, before] = await Promise.all(
      [false, true].map(async (older) => {
        const data = await reportData([await leaveRun(older ? "older" : "newer", { older })]);
        return { data, html: await reportHtml(data) };
      }),
    );
    assert.equal(now?.data.figures.arms.joint?.distinctUsed?.["0.5"], 0.4);
    assert.equal(before?.data.figures.arms.joint?.distinctUsed, undefined);
    const row = (html = "") =>
      /used, and distinct at a cosine distance.*?at 0\.5.*?<\/tr>/s.exec(html)?.[0].split("at 0.5")[1];
    assert.match(row(now?.html) ?? "", /40&nbsp;%.*40&nbsp;%/);
    assert.match(row(before?.html) ?? "", /<\/span>–<.*<\/span>–</);
    assert.match(now?.html ?? "", /<h3>Distinct and used at 0\.5</);
    assert.doesNotMatch(before?.html ?? "", /<h3>Distinct and used at 0\.5</);
    assert.match(before?.html ?? "", /<h3>Unique at 0\.5</);
  });

  it("takes up the probes and images of the trainings that have them", async () => {
    const run = await leaveRun("a", { arms: ["joint"] });
    const [job] = run.jobs;
    const perClass = { knn: [0.5, 0.4, null], linear: [0.6, 0.5, null] };
    await saveProbe(job?.folder ?? "", {
      figures: { knn: { "20": 0.5 }, linear: 0.6, linearRate: 0.1, perClass },
      nearest: {
        nearestPrototypes: { shape: [1], data: Float32Array.of(7) },
        nearestImages: { shape: [1, 8, 2, 2, 3], data: new Float32Array(96).fill(200) },
        nearestLabels: { shape: [1, 8], data: new Float32Array(8).fill(2) },
      },
    });
    const data = await reportData([run]);
    assert.deepEqual(data.arms[0]?.probes[0]?.perClass, perClass);
    const html = await reportHtml(data);
    assert.match(html, /nearest to prototype 7: frog, frog/);
    assert.match(html, /Linear probe by class/);
  });

  it("shows several runs on one page: arms as RUN/ARM, each with its own untrained encoder and configuration", async () => {
    const runs = [await leaveRun("a"), await leaveRun("b", { seeds: [3, 4] })];
    const data = await reportData(runs);
    assert.deepEqual(Object.keys(data.figures.arms), ["a/joint", "a/decoupled", "b/joint", "b/decoupled"]);
    assert.equal(data.figures.arms["a/joint"]?.untrained, 0.3);
    assert.ok(Math.abs((data.figures.arms["b/joint"]?.untrained ?? 0) - 0.335) < 1e-9);
    assert.deepEqual(data.figures.differences?.[0]?.arms, ["b/decoupled", "b/joint"]);
    const html = await reportHtml(data);
    for (const text of ["Configuration of a", "Configuration of b", "<h1>a, b</h1>", "33.5"]) {
      assert.ok(html.includes(text), text);
    }
  });

  it("says that accuracies of runs on different data are of different tasks", async () => {
    const runs = [
      await leaveRun("a"),
      await leaveRun("b", { settings: { data: { name: "fashion-mnist" } } }),
    ];
    const [remark] = (await reportData(runs)).remarks;
    assert.equal(remark?.text, "The runs differ in data.name, so their accuracies are of different tasks.");
  });

  it("says once that accuracies are not of the test set", async () => {
    const settings = { data: { train: 100, heldOut: 50 } };
    const { remarks } = await reportData([
      await leaveRun("a", { settings }),
      await leaveRun("b", { settings }),
    ]);
    assert.deepEqual(
      remarks.map(({ text }) => text).filter((text) => text.includes("held-out")),
      ["Evaluated on 50 held-out training images, not on the test set."],
    );
  });

  it("shows a run as far as it came: stopped, under way, half a line, a training not begun", async () => {
    const run = await leaveRun("a", { reached: ({ arm }) => (arm === "joint" ? 60 : -1) });
    await appendFile(join(run.jobs[0]?.folder ?? "", "metrics.jsonl"), '{"step": 70, "lo');
    const stopped = await reportData([run]);
    assert.deepEqual(Object.keys(stopped.figures.arms), ["joint"]);
    assert.deepEqual(said(stopped.remarks), [
      "joint note: Drawn to its evaluation at step 50 of 100. Go on with: npx mixhead resume a.",
      "decoupled note: Not drawn, since it has no evaluation yet. Go on with: npx mixhead resume a.",
    ]);
    const end = await lockRun(run.folder);
    assert.match((await reportData([run])).remarks[0]?.text ?? "", /of 100\. It is under way\.$/);
    await end();
    await reportHtml(stopped);
  });

  it("names the experiment file as the way to resume a run with functions", async () => {
    const run = await leaveRun("a", { arms: ["decoupled"], reached: () => 60 });
    const jobs = run.jobs.map(({ config, ...job }) => ({
      ...job,
      config: { ...config, plugin: { ...config.plugin, kind: "custom:mine" } },
    }));
    assert.deepEqual(said((await reportData([{ ...run, jobs }])).remarks), [
      "decoupled note: Drawn to its evaluation at step 50 of 100. Go on with: run the experiment file again.",
    ]);
  });

  it("takes no mean over different steps: it leaves out a seed that is behind, and says so", async () => {
    const run = await leaveRun("a", {
      seeds: [0, 1, 2],
      reached: ({ arm, seed }) => (arm === "joint" && seed === 2 ? 60 : 100),
    });
    const { figures, arms, remarks } = await reportData([run]);
    assert.deepEqual(figures.arms.joint?.seeds, [0, 1]);
    assert.equal(figures.arms.joint?.steps, 100);
    assert.deepEqual(
      arms[0]?.trainings.map(({ seed }) => seed),
      [0, 1],
    );
    assert.deepEqual(figures.arms.decoupled?.seeds, [0, 1, 2]);
    assert.deepEqual(figures.differences?.[0]?.seeds, [0, 1]);
    assert.deepEqual(said(remarks), [
      "joint note: Seed 2: Not drawn, since its evaluation at step 50 of 100 is behind another seed's. Go on with: npx mixhead resume a.",
    ]);
  });

  it("leaves failed seeds out of the figures, but shows an arm of which all failed as far as they came", async () => {
    const run = await leaveRun("a", { seeds: [0, 1] });
    for (const job of run.jobs) {
      if (job.arm === "joint" || job.seed === 1) await noteFailure(job, "the worker was killed");
    }
    const { figures, remarks } = await reportData([run]);
    assert.deepEqual(figures.arms.decoupled?.seeds, [0]);
    assert.deepEqual(figures.arms.joint?.seeds, [0, 1]);
    assert.equal(remarks.filter(({ level }) => level === "failure").length, 3);
    assert.equal(
      remarks[0]?.text,
      "Seed 0: Failed: the worker was killed. Its last evaluation is of step 100.",
    );
  });

  it("says what the measurements show, each kind once for an arm", async () => {
    const run = await leaveRun("a", { arms: ["decoupled"], seeds: [0, 1, 2] });
    for (const { seed, folder } of run.jobs) {
      if (seed === 1) continue;
      await appendFile(join(folder, "metrics.jsonl"), '{"step":110,"loss":null}\n');
    }
    const [found, ...others] = (await reportData([run])).remarks;
    assert.deepEqual(others, []);
    assert.equal(found?.level, "warning");
    assert.match(found?.text ?? "", /^Seed 0 \(likewise 2\): The loss was not a finite number at step 110\./);
  });

  it("refuses a run that has no evaluation in one sentence", async () => {
    const runs = [await leaveRun("a"), await leaveRun("b", { reached: () => -1 })];
    await assert.rejects(
      reportData(runs),
      (error) => error instanceof UserError && /^runs\/b has no evaluation yet/.test(error.message),
    );
  });
});
