import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";
import { CommandLine, tiny } from "../cli/command.ts";
import { family } from "../cli/processes.ts";

const config = join(packageRoot, "configs", "demo", "decoupled.yaml");
const long = [...tiny, "train.stop=40", "train.checkpointEvery=1000"];

describe("a training that a scheduler ends", function () {
  this.timeout(120_000);
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function begin(): Promise<CommandLine> {
    const command = new CommandLine(folder, ["train", config, ...long, "--name", "mine"]);
    await command.says(/step 4/);
    return command;
  }

  async function assertCheckpoint(): Promise<void> {
    const checkpoints = join(folder, "runs", "mine", "decoupled", "checkpoints");
    const [last = ""] = (await readdir(checkpoints)).slice(-1);
    assert.ok(Number(last.slice("step-".length)) > 4);
    assert.ok(existsSync(join(checkpoints, last, "mixture.safetensors")));
  }

  it("takes a checkpoint and says how to resume, though every process receives every signal", async () => {
    const command = await begin();
    const processes = family(command.process.pid ?? assert.fail());
    assert.ok(processes.length >= 3, "Node, the Python that launches, and the worker");
    for (const signal of ["SIGUSR1", "SIGTERM", "SIGHUP", "SIGUSR2", "SIGTERM"] as const) {
      for (const { pid } of processes) process.kill(pid, signal);
    }
    const { status, stderr } = await command.finished;
    assert.equal(status, 75, "EX_TEMPFAIL: start it again");
    assert.match(stderr, /^ends after a checkpoint/m);
    assert.match(stderr, /stopped at a checkpoint; continue with: npx mixhead resume mine\n$/);
    await assertCheckpoint();
  });

  it("takes a checkpoint though its terminal has closed", async () => {
    const command = await begin();
    command.process.stdout?.destroy();
    command.process.stderr?.destroy();
    command.process.kill("SIGHUP");
    assert.equal((await command.finished).status, 75);
    await assertCheckpoint();
  });
});
