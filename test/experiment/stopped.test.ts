import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { packageRoot } from "../../src/files/paths.ts";
import { CommandLine, tiny } from "../cli/command.ts";

const config = join(packageRoot, "configs", "demo", "decoupled.yaml");
const settings = [
  ...tiny,
  "train.steps=100000",
  "train.stop=100000",
  "train.checkpointEvery=2",
  "train.evaluateEvery=1000",
];

describe("a training of which a process is stopped, as by SIGSTOP", function () {
  this.timeout(240_000);
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** A run between two of its steps or in one. */
  async function begun(): Promise<CommandLine> {
    const command = new CommandLine(folder, ["train", config, ...settings, "--name", "mine"]);
    while (!existsSync(join(folder, "runs", "mine", "decoupled", "checkpoints", "step-0000002"))) {
      assert.equal(command.process.exitCode, null, command.stderr);
      await sleep(20);
    }
    return command;
  }

  it("fails if the worker was stopped, and reports that it did not answer and what is missing", async () => {
    const command = await begun();
    const [worker] = command.workers();
    process.kill(worker ?? assert.fail(), "SIGSTOP");
    const { status, stderr } = await command.finished;
    assert.equal(status, 1);
    assert.match(
      stderr,
      /the worker \(process \d+\) did not answer for 6 s and was ended; (its part of step \d+|the result of checkpoint after step \d+) is missing$/m,
    );
    assert.throws(() => process.kill(worker ?? 0, 0), { code: "ESRCH" });
  });

  it("fails if Node was stopped, as soon as that continues: the worker has left with its own sentence", async () => {
    const command = await begun();
    const [worker] = command.workers();
    command.process.kill("SIGSTOP");
    const log = join(folder, "runs", "mine", "decoupled", "worker.log");
    const told =
      /rank 0.*: (waited for targets of step \d+ from )?the plugin at .*: its process ended or the connection broke/;
    while (!told.test(await readFile(log, "utf8"))) await sleep(50);
    command.process.kill("SIGCONT");
    const { status, stderr } = await command.finished;
    assert.equal(status, 1);
    assert.match(
      stderr,
      /the worker \(process \d+\) (ended with status 1: run "decoupled.*its process ended or the connection broke|did not answer for 6 s and was ended)/,
    );
    assert.throws(() => process.kill(worker ?? 0, 0), { code: "ESRCH" });
  });
});
