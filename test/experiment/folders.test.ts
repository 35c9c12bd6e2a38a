import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";
import { commitCheckpoint, latestCheckpoint, sweepCheckpoints } from "../../src/experiment/checkpoint.ts";
import { goingOn } from "../../src/experiment/going-on.ts";
import { lockRun } from "../../src/experiment/lock.ts";
import { evaluationsOf, MetricsLog, readMetrics } from "../../src/experiment/metrics-log.ts";
import { openRun, readRun } from "../../src/experiment/run-folder.ts";

// Hooks outside of a suite would run for every file.
describe("in a folder of its own", () => {
  const here = process.cwd();
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    process.chdir(folder);
  });
  afterEach(async () => {
    process.chdir(here);
    await rm(folder, { recursive: true });
  });

  describe("a run's folder", () => {
    const arms = () => new Map([["joint", resolveConfig({ prototypes: "joint" })]]);

    it("reads back as it was opened", async () => {
      const opened = await openRun("a", arms(), [3, 4]);
      assert.deepEqual(await readRun("a"), opened);
      assert.deepEqual(
        opened.jobs.map(({ label, config }) => [label, config.seed]),
        [
          ["joint (seed 3)", 3],
          ["joint (seed 4)", 4],
        ],
      );
    });

    it("of a time when nothing brought components into use goes on so", async () => {
      await openRun("a", arms(), [0]);
      const record = join("runs", "a", "config.yaml");
      const written = await readFile(record, "utf8");
      assert.match(written, /^ {6}use:\n(?: {8}.*\n)+/m);
      await writeFile(record, written.replace(/^ {6}use:\n(?: {8}.*\n)+/m, ""));
      assert.equal((await readRun("a")).arms.get("joint")?.plugin.use.share, 0);
    });

    it("opens again for the same configuration", async () => {
      await openRun("a", arms(), [0]);
      await openRun("a", arms(), [0]);
    });

    it("refuses another configuration and says where it differs, and leaves the run as it was", async () => {
      const [job] = (await openRun("a", arms(), [0])).jobs;
      await new MetricsLog(join(job?.folder ?? "", "metrics.jsonl")).append({ step: 10, loss: 1 });
      const before = await readFile("runs/a/config.yaml", "utf8");
      const other = new Map([["joint", resolveConfig({ prototypes: "joint", train: { lr: 0.1 } })]]);
      await assert.rejects(openRun("a", other, [0]), (error: unknown) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, /arms\.joint\.train\.lr is 0\.003 there, 0\.1 here/);
        return true;
      });
      assert.equal(await readFile("runs/a/config.yaml", "utf8"), before);
    });

    it("is another one with other options of a plugin in a file, and has them in full in its record", async () => {
      await writeFile(
        "mine.ts",
        'import { z } from "zod"; export const options = z.strictObject({ rate: z.number().default(1), idle: z.int().default(7) }); export default () => {};',
      );
      const open = (...overrides: string[]) =>
        openRun("a", new Map([["d", resolveConfig({ plugin: { kind: "./mine.ts" } }, overrides)]]), [0]);
      const [job] = (await open("plugin.options.rate=0.1")).jobs;
      await new MetricsLog(join(job?.folder ?? "", "metrics.jsonl")).append({ step: 10, loss: 1 });
      const recorded = (await readRun("a")).arms.get("d")?.plugin.options;
      assert.deepEqual(recorded, { rate: 0.1, idle: 7 });
      await open("plugin.options.rate=0.1");
      await assert.rejects(open("plugin.options.rate=0.2"), /plugin\.options\.rate is 0\.1 there, 0\.2 here/);
      await assert.rejects(open(), /plugin\.options\.rate is 0\.1 there, 1 here/);
      await assert.rejects(
        open("plugin.options.rte=1"),
        /^UserError: d: \.\/mine\.ts: plugin\.options\.rte is not/,
      );
    });

    it("makes way for another configuration where nothing was measured yet", async () => {
      await openRun("a", arms(), [0]);
      await openRun("a", arms(), [1]);
      assert.deepEqual((await readRun("a")).seeds, [1]);
    });

    it("is replaced with force, unless the folder is no run", async () => {
      await openRun("a", arms(), [0]);
      await openRun("a", arms(), [1], true);
      assert.deepEqual((await readRun("a")).seeds, [1]);
      await mkdir("runs/mine");
      await assert.rejects(openRun("mine", arms(), [0], true), UserError);
    });

    it("cannot be called anything that leaves runs/, and neither can an arm", async () => {
      for (const name of ["../a", "a/b", "", ".."]) {
        await assert.rejects(openRun(name, arms(), [0]), UserError);
        const named = new Map([[name, resolveConfig({})]]);
        await assert.rejects(openRun("a", named, [0]), UserError);
      }
    });

    it("is held by the process that trains at it, and by none that is dead", async () => {
      const { folder } = await openRun("a", arms(), [0]);
      const free = await lockRun(folder);
      await assert.rejects(lockRun(folder), new RegExp(`being trained by process ${process.pid}`));
      await assert.rejects(openRun("a", arms(), [1], true), UserError);
      await free();
      const { pid = 0 } = spawnSync("true");
      for (const dead of [`${pid} 1`, `${process.pid} 1`, "", "nonsense"]) {
        await writeFile(join(folder, "lock"), dead);
        await (await lockRun(folder))();
      }
    });

    it("goes on to another end and elsewhere, and as nothing else, with its record as it was", async () => {
      const settings = { prototypes: "joint", train: { steps: 40, stop: 8 } };
      const run = await openRun("a", new Map([["joint", resolveConfig(settings)]]), [0]);
      const checkpoints = join(run.jobs[0]?.folder ?? "", "checkpoints");
      await mkdir(join(checkpoints, "incoming"));
      await commitCheckpoint(
        checkpoints,
        join(checkpoints, "incoming"),
        { step: 8, seconds: 1, metricsBytes: 0 },
        {},
      );
      const before = await readFile("runs/a/config.yaml", "utf8");
      for (const [setting, sentence] of [
        ["train.stop=7", "train.stop is 7, and joint of runs/a has taken 8 steps; allowed: 8 to 40"],
        ["train.stop=41", "runs/a: train.stop is 41; allowed: at most train.steps, which is 40"],
        ["train.stop=soon", 'runs/a: train.stop is "soon"; allowed: a number'],
        [
          "train.steps=80",
          "train.steps belongs to what runs/a is: it goes on with its own; allowed: train.stop, placement, backend, bridge",
        ],
      ]) {
        await assert.rejects(goingOn(run, ["train.stop=16", setting ?? ""]), new UserError(sentence));
        assert.equal(await readFile("runs/a/config.yaml", "utf8"), before, setting);
      }
      const next = await goingOn(run, ["train.stop=16", "placement=host"]);
      assert.deepEqual([next.jobs[0]?.config.train.stop, next.jobs[0]?.config.placement], [16, "host"]);
      assert.equal(await readFile("runs/a/config.yaml", "utf8"), before.replace("stop: 8", "stop: 16"));
    });

    it("is not made where a configuration names a function that is not there", async () => {
      const named = new Map([["joint", resolveConfig({ plugin: { kind: "custom:mine" } })]]);
      await assert.rejects(openRun("a", named, [0]), /joint: plugin\.kind is a function, which only/);
      await assert.rejects(readRun("a"), UserError);
    });
  });

  describe("a checkpoint", () => {
    const clock = (step: number) => ({ step, seconds: 1, metricsBytes: 0 });
    const mixture = { n: { shape: [2], data: Float32Array.of(1, 2) } };
    async function commit(step: number): Promise<void> {
      await mkdir("incoming", { recursive: true });
      await writeFile("incoming/encoder", "weights");
      await commitCheckpoint("checkpoints", "incoming", clock(step), mixture);
    }
    beforeEach(() => mkdir("checkpoints"));

    it("comes back whole, the newest one first, and older ones go", async () => {
      for (const step of [5, 10, 200]) await commit(step);
      const newest = await latestCheckpoint("checkpoints");
      assert.equal(newest?.clock.step, 200);
      assert.deepEqual(newest?.mixture, mixture);
      await rm("checkpoints/step-0000200", { recursive: true });
      assert.equal((await latestCheckpoint("checkpoints"))?.clock.step, 10);
      await rm("checkpoints/step-0000010", { recursive: true });
      assert.equal(await latestCheckpoint("checkpoints"), null);
    });

    it("is the newest from step 10,000,000 on too, where its name is longer", async () => {
      for (const step of [9_999_998, 9_999_999, 10_000_000]) await commit(step);
      assert.equal((await latestCheckpoint("checkpoints"))?.clock.step, 10_000_000);
      assert.deepEqual((await readdir("checkpoints")).sort(), ["step-10000000", "step-9999999"]);
    });

    it("is not there where its making was interrupted", async () => {
      await commit(5);
      await mkdir("checkpoints/incoming-10");
      await writeFile("checkpoints/incoming-10/clock.json", JSON.stringify(clock(10)));
      assert.equal((await latestCheckpoint("checkpoints"))?.clock.step, 5);
      assert.ok(existsSync("checkpoints/incoming-10"), "another process may be making it");
      await sweepCheckpoints("checkpoints");
      assert.deepEqual(await readdir("checkpoints"), ["step-0000005"]);
    });

    it("that is damaged is named, not skipped", async () => {
      await commit(5);
      await writeFile("checkpoints/step-0000005/clock.json", "{");
      await assert.rejects(latestCheckpoint("checkpoints"), /step-0000005 is not a checkpoint/);
    });
  });

  describe("metrics.jsonl", () => {
    it("is cut to where a checkpoint was taken", async () => {
      const log = new MetricsLog("m.jsonl");
      await log.append({ step: 1, loss: 2 });
      const size = await log.size();
      await log.append({ step: 2, loss: 3 });
      await new MetricsLog("m.jsonl").cutTo(size);
      assert.deepEqual(await readMetrics("m.jsonl"), [{ step: 1, loss: 2 }]);
    });

    it("keeps evaluations apart from training lines", async () => {
      const evaluation = { step: 0, knn: 0.3, unique: { "0.5": 1 }, used: 0.2, perplexity: 3, seconds: 1 };
      assert.deepEqual(evaluationsOf([{ step: 0, loss: 1 }, evaluation]), [evaluation]);
    });

    it("names the line that is damaged", async () => {
      await appendFile("m.jsonl", '{"step":1}\n{"step":\n');
      await assert.rejects(readMetrics("m.jsonl"), /m\.jsonl, line 2/);
    });
  });
});
