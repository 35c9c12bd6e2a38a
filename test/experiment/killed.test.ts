import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { packageRoot } from "../../src/files/paths.ts";
import { CommandLine, tiny } from "../cli/command.ts";
import { runPython } from "../reference/python.ts";
import { leavings } from "./leavings.ts";

const configs = ["joint", "decoupled"].map((arm) => join(packageRoot, "configs", "demo", `${arm}.yaml`));
const LAST = 20;
const settings = [...tiny, `train.stop=${LAST}`, "train.checkpointEvery=5", "train.evaluateEvery=10"];

describe("a run that is killed and started again", function () {
  this.timeout(120_000);
  let folder: string;
  let whole: Awaited<ReturnType<typeof leavings>>;
  const left = (name: string) => leavings(join(folder, "runs", name), ["joint", "decoupled"]);

  // Threads as a person has them: by the cores and the trainings that are left, unless the run has noted them.
  const start = (name: string) =>
    new CommandLine(folder, ["compare", ...configs, ...settings, "--name", name], { OMP_NUM_THREADS: "" });

  /** The same of optimizer, centre and gradient scaler: "" where nothing differs. */
  async function differenceInTraining(name: string): Promise<string> {
    const file = (run: string, arm: string) =>
      join(folder, "runs", run, arm, "checkpoints", "step-0000020", "training.pt");
    const found = ["joint", "decoupled"].map((arm) =>
      runPython("equal.py", file("whole", arm), file(name, arm)),
    );
    return (await Promise.all(found)).join("");
  }

  /** Until the run is between its second checkpoint and its end. */
  async function untilMidway(name: string): Promise<void> {
    while (!existsSync(join(folder, "runs", name, "decoupled", "checkpoints", "step-0000010")))
      await sleep(10);
  }

  async function untilDead(pids: number[]): Promise<void> {
    const alive = (pid: number) => {
      try {
        return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
      } catch {
        return false;
      }
    };
    while (pids.some(alive)) await sleep(20);
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    const { status, stderr } = await start("whole").finished;
    assert.equal(status, 0, stderr);
    whole = await left("whole");
    assert.deepEqual(whole[0]?.checkpoints, ["step-0000015", "step-0000020"]);
    assert.equal(whole[0]?.hashes.length, 7, "encoder, head, student, mixture, evaluation, probe, images");
  });
  after(() => rm(folder, { recursive: true }));

  it("leaves bit for bit what the unbroken run leaves, if Node was killed", async () => {
    const broken = start("node");
    await untilMidway("node");
    const workers = broken.workers();
    assert.ok(workers.length > 0);
    broken.process.kill("SIGKILL");
    await broken.finished;
    await untilDead(workers);
    assert.ok(!existsSync(join(folder, "runs", "node", "summary.json")));
    const again = await start("node").finished;
    assert.equal(again.status, 0, again.stderr);
    assert.deepEqual(await left("node"), whole);
    assert.equal(await differenceInTraining("node"), "");
  });

  it("leaves bit for bit what the unbroken run leaves, if a worker was killed", async () => {
    const broken = start("worker");
    await untilMidway("worker");
    const [worker] = broken.workers();
    if (worker !== undefined) process.kill(worker, "SIGKILL");
    const { status, stdout, stderr } = await broken.finished;
    assert.equal(status, 1, stderr);
    assert.match(stdout, /failed: (joint|decoupled), seed 0: the worker .* was ended by SIGKILL/);
    assert.match(stdout, /\d+ +1 +\d+ s/, "the other arm has finished");
    const again = await start("worker").finished;
    assert.equal(again.status, 0, again.stderr);
    assert.doesNotMatch(again.stdout, /failed/);
    assert.deepEqual(await left("worker"), whole);
    assert.equal(await differenceInTraining("worker"), "");
  });
});
