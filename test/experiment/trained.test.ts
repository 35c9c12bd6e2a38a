import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { openRun, type Run } from "../../src/experiment/run-folder.ts";
import { findTrained } from "../../src/experiment/trained.ts";

// Hooks outside of a suite would run for every file.
describe("in a folder of its own", () => {
  const here = process.cwd();
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-trained-"));
    process.chdir(folder);
  });
  afterEach(async () => {
    process.chdir(here);
    await rm(folder, { recursive: true });
  });

  async function runOf(name: string, arms: string[], seeds = [0]): Promise<Run> {
    const settings = (arm: string) => ({ prototypes: arm === "joint" ? "joint" : "decoupled" });
    const run = await openRun(name, new Map(arms.map((arm) => [arm, resolveConfig(settings(arm))])), seeds);
    for (const job of run.jobs) {
      for (const step of ["step-0000250", "step-0000500", "incoming-750"])
        await mkdir(join(job.folder, "checkpoints", step), { recursive: true });
    }
    return run;
  }

  describe("finding a trained encoder", () => {
    it("takes a run's newest whole checkpoint: the decoupled arm's, or the one that is asked for", async () => {
      await runOf("a", ["joint", "decoupled"]);
      const found = await findTrained("a", ["data.test=7"]);
      assert.equal(found.label, "a, decoupled, step 500");
      assert.equal(found.path, join(process.cwd(), "runs/a/decoupled/checkpoints/step-0000500"));
      assert.deepEqual([found.config.prototypes, found.config.data.test], ["decoupled", 7]);
      assert.match((await findTrained("a", [], { arm: "joint" })).path, /joint/);
      assert.equal((await findTrained("runs/a", [])).path, found.path);
    });

    it("only reads: it leaves a checkpoint that is being written alone", async () => {
      const run = await runOf("a", ["joint"]);
      await findTrained("a", []);
      assert.ok((await readdir(join(run.jobs[0]?.folder ?? "", "checkpoints"))).includes("incoming-750"));
    });

    it("takes the first of several seeds, or the one that is asked for", async () => {
      await runOf("a", ["joint"], [3, 4]);
      assert.equal((await findTrained("a", [])).config.seed, 3);
      assert.equal((await findTrained("a", [], { seed: 4 })).config.seed, 4);
      await assert.rejects(findTrained("a", [], { seed: 9 }), /no seed 9; it has 3, 4/);
    });

    it("knows the run that a checkpoint's folder belongs to, from anywhere", async () => {
      await runOf("a", ["joint", "decoupled"], [3, 4]);
      const checkpoint = join(process.cwd(), "runs/a/joint/seed-4/checkpoints/step-0000250");
      process.chdir(tmpdir());
      const found = await findTrained(checkpoint, []);
      assert.deepEqual([found.path, found.config.prototypes, found.config.seed], [checkpoint, "joint", 4]);
      assert.equal(found.label, "a, joint (seed 4), step 250");
    });

    it("accepts a file of weights if the encoder is named", async () => {
      await writeFile("weights.pth", "");
      const found = await findTrained("weights.pth", ["encoder.name=resnet18-32"]);
      assert.deepEqual([found.path, found.config.encoder.name], ["weights.pth", "resnet18-32"]);
      await assert.rejects(findTrained("weights.pth", []), /add encoder\.name=NAME/);
      await assert.rejects(
        findTrained("weights.pth", ["encoder.name=resnet18-32"], { arm: "joint" }),
        /weights\.pth is no run, of which --arm could choose a part/,
      );
    });

    it("reports an ambiguous or missing run in one sentence", async () => {
      await runOf("a", ["one", "two"]);
      await assert.rejects(findTrained("a", []), /a has the arms one, two: choose with --arm/);
      await assert.rejects(findTrained("a", [], { arm: "three" }), /a has no arm three; it has one, two/);
      await assert.rejects(findTrained("b", []), /b is neither a run/);
      await openRun("young", new Map([["joint", resolveConfig({})]]), [0]);
      await assert.rejects(findTrained("young", []), /joint has no checkpoint yet/);
    });
  });
});
