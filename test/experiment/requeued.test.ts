import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";
import { requeuedRun } from "../../src/experiment/requeued.ts";
import { openRun } from "../../src/experiment/run-folder.ts";
import { leaveCheckpoint } from "./leave-checkpoint.ts";

describe("a SLURM job that was requeued", () => {
  const here = process.cwd();
  const { SLURM_JOB_ID, SLURM_RESTART_COUNT } = process.env;
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    process.chdir(folder);
  });
  afterEach(async () => {
    process.chdir(here);
    slurm(SLURM_JOB_ID, SLURM_RESTART_COUNT);
    await rm(folder, { recursive: true });
  });

  function slurm(job?: string, restarts?: string): void {
    delete process.env.SLURM_JOB_ID;
    delete process.env.SLURM_RESTART_COUNT;
    if (job !== undefined) process.env.SLURM_JOB_ID = job;
    if (restarts !== undefined) process.env.SLURM_RESTART_COUNT = restarts;
  }

  /** A run of 40 steps whose newest checkpoint is of `step`. */
  async function begin(name: string, step: number) {
    const config = resolveConfig({ prototypes: "joint", train: { steps: 40 } });
    const run = await openRun(name, new Map([["joint", config]]), [0]);
    await leaveCheckpoint(run, step);
    return run;
  }

  it("resumes the run that it began and that is not complete", async () => {
    slurm();
    await begin("by-hand", 8);
    slurm("6");
    await begin("anothers", 8);
    slurm("7");
    await begin("complete", 40);
    await begin("mine", 8);
    slurm("7", "1");
    assert.equal((await requeuedRun()).name, "mine");
    await rm("runs/mine", { recursive: true });
    assert.equal((await requeuedRun()).name, "complete");
  });

  it("reports that no run or several runs match, and what is needed", async () => {
    for (const [job, restarts] of [[], ["7"], ["7", "0"]]) {
      slurm(job, restarts);
      await assert.rejects(requeuedRun(), /^UserError: resume takes a run, .* and this is none$/);
    }
    slurm("7", "2");
    await assert.rejects(
      requeuedRun(),
      new UserError("no run under runs/ was begun by SLURM job 7: name one"),
    );
    for (const name of ["one", "two"]) await begin(name, 8);
    const said = "SLURM job 7 began several runs, one, two: name the one to resume";
    await assert.rejects(requeuedRun(), new UserError(said));
  });

  it("continues although its script has --force, which replaced the earlier run at its first start", async () => {
    slurm("7");
    const run = await begin("mine", 8);
    const checkpoints = async () => (await readdir("runs/mine/joint/checkpoints")).length;
    const again = () => openRun("mine", run.arms, run.seeds, true);
    slurm("7", "1");
    await again();
    assert.equal(await checkpoints(), 1);
    slurm("8", "1");
    await again();
    assert.equal(await checkpoints(), 0, "of another job it is replaced");
  });
});
