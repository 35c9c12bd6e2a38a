import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";
import {
  commitCheckpoint,
  incomingFolder,
  latestCheckpoint,
  sweepCheckpoints,
} from "../../src/experiment/checkpoint.ts";
import { goingOn } from "../../src/experiment/going-on.ts";
import { lockRun } from "../../src/experiment/lock.ts";
import type { Origin } from "../../src/experiment/manifest.ts";
import { metricsToMend } from "../../src/experiment/mend-metrics.ts";
import { evaluationsOf, MetricsLog, readMetrics } from "../../src/experiment/metrics-log.ts";
import { openRun, readRun } from "../../src/experiment/run-folder.ts";
import { checkpointOf } from "../../src/experiment/same-run.ts";
import { leaveCheckpoint } from "./leave-checkpoint.ts";

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

    it("of a version without plugin.use resumes without it", async () => {
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

    it("refuses another configuration, names the difference, and leaves the run unchanged", async () => {
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

    it("makes way for another configuration if nothing was measured yet", async () => {
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

    it("refuses a record whose arms' names could lead out of its folder", async () => {
      await openRun("a", arms(), [0]);
      const record = join("runs", "a", "config.yaml");
      const written = await readFile(record, "utf8");
      await writeFile(record, written.replace(/^ {2}joint:/m, "  ../../escaped:"));
      await assert.rejects(
        readRun("a"),
        /^UserError: .*config\.yaml: "\.\.\/\.\.\/escaped" cannot name an arm; allowed:/,
      );
    });

    it("continues with the settings that it was trained with, and names one that was changed since", async () => {
      const run = await openRun("a", new Map([["joint", resolveConfig({ prototypes: "joint" })]]), [0]);
      await leaveCheckpoint(run, 8);
      const record = join("runs", "a", "config.yaml");
      const written = await readFile(record, "utf8");
      const jobOf = async (change: (text: string) => string) => {
        await writeFile(record, change(written));
        const [job] = (await readRun("a")).jobs;
        return checkpointOf(run, job ?? assert.fail());
      };
      await assert.rejects(
        jobOf((text) => text.replace("lr: 0.003", "lr: 0.01")),
        new UserError(
          "joint of runs/a was trained with train.lr 0.003, and its configuration now says 0.01: set it back, or train another run",
        ),
      );
      await jobOf((text) => text);
      await jobOf((text) =>
        text
          .replace("keepCheckpoints: 2", "keepCheckpoints: 5")
          .replace("placement: auto", "placement: host"),
      );
    });

    it("is locked by the process that trains it, but not by a dead one", async () => {
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

    it("resumes to another last step or at another place, and with no other change, with its record as it was", async () => {
      const settings = { prototypes: "joint", train: { steps: 40, stop: 8 } };
      const run = await openRun("a", new Map([["joint", resolveConfig(settings)]]), [0]);
      await leaveCheckpoint(run, 8);
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

    it("is not made if a configuration names a missing function", async () => {
      const named = new Map([["joint", resolveConfig({ plugin: { kind: "custom:mine" } })]]);
      await assert.rejects(openRun("a", named, [0]), /joint: plugin\.kind is a function, which only/);
      await assert.rejects(readRun("a"), UserError);
    });
  });

  describe("a checkpoint", () => {
    const clock = (step: number) => ({ step, seconds: 1, metricsBytes: 0 });
    const mixture = { n: { shape: [2], data: Float32Array.of(1, 2) } };
    const origin = { run: "this", arm: "joint", seed: 0 };
    const rest = { mixture, config: resolveConfig({}), metrics: "metrics.jsonl" };
    async function commit(step: number, of: Partial<Origin> = {}, keep = 2): Promise<void> {
      await mkdir("incoming", { recursive: true });
      await writeFile("incoming/encoder", "weights");
      const parts = { ...rest, clock: clock(step), origin: { ...origin, ...of } };
      await commitCheckpoint("checkpoints", "incoming", parts, keep);
    }
    const latest = () => latestCheckpoint("checkpoints", origin);
    beforeEach(async () => {
      await mkdir("checkpoints");
      await new MetricsLog("metrics.jsonl").append({ step: 10, loss: 1 });
    });

    it("is read back whole, the newest first, and older ones are removed", async () => {
      for (const step of [5, 10, 200]) await commit(step);
      const { checkpoint, notes } = await latest();
      assert.equal(checkpoint?.clock.step, 200);
      assert.deepEqual(checkpoint?.mixture, mixture);
      assert.deepEqual(notes, []);
      await rm("checkpoints/step-0000200", { recursive: true });
      assert.equal((await latest()).checkpoint?.clock.step, 10);
      await rm("checkpoints/step-0000010", { recursive: true });
      assert.equal((await latest()).checkpoint, null);
    });

    it("is the newest from step 10,000,000 on too, if its name is longer", async () => {
      for (const step of [9_999_998, 9_999_999, 10_000_000]) await commit(step);
      assert.equal((await latest()).checkpoint?.clock.step, 10_000_000);
      assert.deepEqual((await readdir("checkpoints")).sort(), ["step-10000000", "step-9999999"]);
    });

    it("does not exist if its making was interrupted", async () => {
      await commit(5);
      await mkdir("checkpoints/incoming-10");
      await writeFile("checkpoints/incoming-10/clock.json", JSON.stringify(clock(10)));
      assert.equal((await latest()).checkpoint?.clock.step, 5);
      assert.ok(existsSync("checkpoints/incoming-10"), "another process may be making it");
      await sweepCheckpoints("checkpoints", 5, 2);
      assert.deepEqual(await readdir("checkpoints"), ["step-0000005"]);
    });

    it("is taken from the folder of checkpoints alone, whatever path a worker names", () => {
      assert.equal(incomingFolder("checkpoints", "../../elsewhere/incoming-10"), "checkpoints/incoming-10");
      for (const path of [undefined, "", "..", "step-0000005", "incoming-10/..", "incoming-1x"]) {
        assert.throws(() => incomingFolder("checkpoints", path), /the worker named no checkpoint/);
      }
    });

    it("is kept while it is among the newest `keepCheckpoints`", async () => {
      for (const step of [5, 10, 15, 20]) await commit(step, {}, 3);
      assert.deepEqual(await readdir("checkpoints"), ["step-0000010", "step-0000015", "step-0000020"]);
    });

    it("is removed as the training resumes if a kill left one more than are kept", async () => {
      for (const step of [5, 10, 15]) await commit(step, {}, 3);
      await sweepCheckpoints("checkpoints", 15, 2);
      assert.deepEqual(await readdir("checkpoints"), ["step-0000010", "step-0000015"]);
    });

    /** The note on the newest of two, of which the one before is used. */
    async function problem(): Promise<string> {
      const { checkpoint, notes } = await latest();
      assert.equal(checkpoint?.clock.step, 5);
      assert.equal(notes.length, 1);
      const [, what] =
        /^checkpoints\/step-0000010 (.*); step-0000005 is used instead$/.exec(notes[0] ?? "") ?? [];
      return what ?? assert.fail(notes[0]);
    }
    const newest = "checkpoints/step-0000010";

    it("with one bit flipped anywhere is named, and the one before is used", async () => {
      for (const file of await names()) {
        await twoCheckpoints();
        const content = await readFile(join(newest, file));
        content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
        await writeFile(join(newest, file), content);
        // In the manifest itself it may be any field.
        const said =
          file === "manifest.json"
            ? /damaged|of another run/
            : `is damaged: its ${file} is not what was written there`;
        assert.match(await problem(), new RegExp(said));
      }
    });

    it("with a file cut short, emptied or missing is named, and the one before is used", async () => {
      for (const file of await names()) {
        for (const cut of [(size: number) => size - 2, () => 0, undefined]) {
          await twoCheckpoints();
          const content = await readFile(join(newest, file));
          if (cut === undefined && file === "manifest.json") continue; // as an earlier version's
          if (cut === undefined) await rm(join(newest, file));
          else await writeFile(join(newest, file), content.subarray(0, cut(content.length)));
          assert.match(await problem(), new RegExp(`^is damaged: its ${file} (has|is missing|is not)`));
        }
      }
    });

    async function twoCheckpoints(): Promise<void> {
      if (!existsSync("pristine")) {
        for (const step of [5, 10]) await commit(step);
        await cp("checkpoints", "pristine", { recursive: true });
      }
      await rm("checkpoints", { recursive: true });
      await cp("pristine", "checkpoints", { recursive: true });
    }
    async function names(): Promise<string[]> {
      await twoCheckpoints();
      const found = (await readdir(newest)).sort();
      assert.deepEqual(found, [
        "clock.json",
        "config.json",
        "encoder",
        "manifest.json",
        "metrics.jsonl",
        "mixture.safetensors",
      ]);
      return found;
    }

    it("of another run, training or format is named, and the one before is used", async () => {
      await commit(5);
      await commit(10, { run: "other" });
      assert.equal(await problem(), "is a checkpoint of another run");
      await commit(10, { seed: 3 });
      assert.equal(await problem(), "is a checkpoint of joint, seed 3");
      await commit(10);
      const manifest = join(newest, "manifest.json");
      await writeFile(manifest, (await readFile(manifest, "utf8")).replace('"format": 1', '"format": 2'));
      assert.match(await problem(), /^is of format 2, by mixhead \S+: this version reads format 1$/);
    });

    it("of an earlier version, without a manifest, is used with a warning", async () => {
      await commit(5);
      for (const file of ["manifest.json", "config.json", "metrics.jsonl"])
        await rm(`checkpoints/step-0000005/${file}`);
      const { checkpoint, notes } = await latest();
      assert.equal(checkpoint?.clock.step, 5);
      assert.match(notes.join(), /step-0000005 has no manifest, as an earlier version left it/);
    });

    it("whose manifest names files elsewhere is damaged", async () => {
      await twoCheckpoints();
      const manifest = join(newest, "manifest.json");
      await writeFile(manifest, (await readFile(manifest, "utf8")).replace('"encoder"', '"../encoder"'));
      assert.equal(await problem(), "is damaged: its manifest.json is not a manifest");
    });

    it("is an error if none is intact", async () => {
      await twoCheckpoints();
      for (const step of ["05", "10"]) await writeFile(`checkpoints/step-00000${step}/clock.json`, "{");
      await assert.rejects(
        latest(),
        /^UserError: no checkpoint can be used: .*step-0000010.*step-0000005.*; remove checkpoints to/,
      );
    });

    it("that is skipped is renamed when the training resumes, so that it is not the newest again", async () => {
      await twoCheckpoints();
      await sweepCheckpoints("checkpoints", 5, 2);
      assert.deepEqual(await readdir("checkpoints"), ["aside-step-0000010", "step-0000005"]);
    });
  });

  describe("metrics.jsonl", () => {
    it("is cut to its length at the checkpoint", async () => {
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

    const job = { folder: "." };
    const checkpoint = (metrics: Buffer | undefined, metricsBytes: number) => ({
      path: "",
      clock: { step: 20, seconds: 1, metricsBytes },
      mixture: {},
      config: undefined,
      metrics,
    });
    const written = '{"step":10,"loss":1}\n{"step":20,"loss":2}\n';

    it("is restored from the checkpoint if it was cut within a line, changed or removed, with a message", async () => {
      const known = checkpoint(Buffer.from(written), written.length);
      for (const [content, said] of [
        [written, undefined],
        [`${written}{"step":30}\n`, undefined],
        [written.slice(0, 25), "ends within line 2"],
        [written.replace("20", "21"), "is not what was written, from line 2 on"],
        [undefined, "is missing"],
      ] as const) {
        await rm("metrics.jsonl", { force: true });
        if (content !== undefined) await writeFile("metrics.jsonl", content);
        const found = await metricsToMend(job, known);
        assert.equal(
          found?.note,
          said && `metrics.jsonl ${said}: its lines up to step 20 are restored from the checkpoint`,
        );
        await found?.mend();
        assert.ok((await readFile("metrics.jsonl", "utf8")).startsWith(written));
      }
    });

    it("has a line that marks the gap if an earlier version's checkpoint cannot restore it", async () => {
      const old = checkpoint(undefined, written.length);
      await writeFile("metrics.jsonl", written);
      assert.equal(await metricsToMend(job, old), null);
      for (const [content, left] of [
        [written.slice(0, 25), [{ step: 10, loss: 1 }]],
        [undefined, []],
      ] as const) {
        await rm("metrics.jsonl", { force: true });
        if (content !== undefined) await writeFile("metrics.jsonl", content);
        const found = await metricsToMend(job, old);
        assert.match(
          found?.note ?? "",
          /of its lines up to step 20 are left, and a line says that there is a gap$/,
        );
        await found?.mend();
        assert.deepEqual(await readMetrics("metrics.jsonl"), [...left, { step: 20, gap: true }]);
        assert.equal((await readFile("metrics.jsonl")).length, found?.metricsBytes);
      }
    });

    it("names the line that is damaged", async () => {
      await appendFile("m.jsonl", '{"step":1}\n{"step":\n');
      await assert.rejects(readMetrics("m.jsonl"), /m\.jsonl, line 2/);
    });
  });
});
