import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { CommandLine, mixhead, tiny } from "./command.ts";

const configs = ["joint", "decoupled"].map((arm) => join(packageRoot, "configs", "demo", `${arm}.yaml`));
const share = z.number().min(0).max(1);
const shares = z.strictObject({ "0.025": share, "0.1": share, "0.25": share, "0.5": share });
const armSummary = z.looseObject({
  knn: share,
  unique: shares,
  distinctUsed: shares,
  used: share,
  steps: z.literal(8),
  seeds: z.tuple([z.literal(0)]),
  seconds: z.number(),
});
const summary = z.looseObject({
  untrained: z.strictObject({ knn: share }),
  arms: z.strictObject({ joint: armSummary, decoupled: armSummary }),
  seconds: z.number(),
});

// Hooks outside of a suite would run for every file.
describe("in a folder of its own", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** Workers and control processes that work in this test's folder. */
  function leftRunning(): string {
    const list = execFileSync("ps", ["-eo", "pid,args"], { encoding: "utf8" });
    return list
      .split("\n")
      .filter(
        (line) =>
          line.includes(folder) || (line.includes("mixhead.worker") && line.includes(process.pid.toString())),
      )
      .join("\n");
  }

  describe("mixhead compare", function () {
    this.timeout(120_000);

    it("trains two arms side by side and leaves what the surface promises", async () => {
      const done = await mixhead(folder, "compare", ...configs, ...tiny, "--name", "demo");
      assert.equal(done.status, 0, done.stderr);
      const run = join(folder, "runs", "demo");
      const figures = summary.parse(JSON.parse(await readFile(join(run, "summary.json"), "utf8")));
      assert.match(done.stdout, /joint/);
      assert.match(done.stdout, /decoupled/);
      for (const arm of ["joint", "decoupled"] as const) {
        const lines = await readMetrics(join(run, arm, "metrics.jsonl"));
        const evaluated = lines.filter((line) => line.knn !== undefined);
        assert.deepEqual(
          evaluated.map((line) => line.step),
          [0, 4, 8],
        );
        const { used = 0, distinctUsed } = evaluated.at(-1) ?? {};
        assert.deepEqual(distinctUsed, figures.arms[arm].distinctUsed);
        const both = distinctUsed?.["0.025"] ?? 0;
        assert.ok(both > 0 && both <= used);
        assert.equal(evaluated[0]?.knn, figures.untrained.knn, "both arms start from the same encoder");
        assert.ok(existsSync(join(run, arm, "checkpoints", "step-0000008", "mixture.safetensors")));
      }
      const page = await readFile(join(run, "report.html"), "utf8");
      assert.match(page, /<svg/);
      assert.equal(leftRunning(), "");

      const again = await mixhead(folder, "compare", ...configs, ...tiny, "--name", "demo");
      assert.equal(again.status, 0, "a complete run of the same configuration is shown");
      assert.equal(again.stdout, done.stdout);
      const other = await mixhead(folder, "compare", ...configs, ...tiny, "train.lr=0.1", "--name", "demo");
      assert.equal(other.status, 2);
      assert.match(other.stderr, /train\.lr is 0\.003 there, 0\.1 here/);
    });

    it("trains as many at once as --jobs says", async () => {
      const command = new CommandLine(folder, [
        "compare",
        ...configs,
        ...tiny,
        "--jobs",
        "1",
        "--name",
        "one",
      ]);
      await command.says(/step 4/);
      assert.equal(command.workers().length, 1);
      const { status, stderr } = await command.finished;
      assert.equal(status, 0, stderr);
      summary.parse(JSON.parse(await readFile(join(folder, "runs", "one", "summary.json"), "utf8")));
    });

    it("ends at a checkpoint on Ctrl-C, says how to continue, and resumes to the end", async () => {
      const long = [...tiny, "train.stop=40", "train.checkpointEvery=1000"];
      const command = new CommandLine(folder, ["compare", ...configs, ...long, "--name", "demo"]);
      await command.says(/joint +step 4.*[\s\S]*decoupled +step 4|decoupled +step 4.*[\s\S]*joint +step 4/);
      command.process.kill("SIGINT");
      const interrupted = await command.finished;
      assert.equal(interrupted.status, 1, interrupted.stderr);
      assert.match(interrupted.stderr, /npx mixhead resume demo/);
      assert.equal(leftRunning(), "");
      const probed = join(folder, "runs", "demo", "decoupled", "evaluation.json");
      assert.ok(!existsSync(probed), "it is probed at its end alone");
      const resumed = await mixhead(folder, "resume", "demo");
      assert.equal(resumed.status, 0, resumed.stderr);
      assert.ok(existsSync(probed));
      const lines = await readMetrics(join(folder, "runs", "demo", "decoupled", "metrics.jsonl"));
      const steps = lines.filter((line) => line.knn === undefined).map((line) => line.step);
      assert.deepEqual(steps, [10, 20, 30, 40], "no line is lost and none is there twice");
    });

    it("ends with one sentence when a worker is killed, and leaves nothing running", async () => {
      const command = new CommandLine(folder, [
        "train",
        configs[1] ?? "",
        ...tiny,
        "train.stop=40",
        "--name",
        "killed",
      ]);
      await command.says(/step 4/);
      for (const pid of command.workers()) process.kill(pid, "SIGKILL");
      const { status, stderr } = await command.finished;
      assert.equal(status, 1);
      assert.match(stderr, /mixhead: decoupled: .*SIGKILL/);
      assert.doesNotMatch(stderr, /\n\s+at /);
      assert.equal(leftRunning(), "");
    });

    it("ends with Python's message if a worker fails unexpectedly", async () => {
      const fail = `import signal
def fail(*_): raise SyntaxError("broken PNG file")
signal.signal(signal.SIGUSR1, fail)
`;
      await writeFile(join(folder, "sitecustomize.py"), fail);
      const args = ["train", configs[1] ?? "", ...tiny, "train.stop=40", "--name", "failed"];
      const command = new CommandLine(folder, args, { PYTHONPATH: folder });
      await command.says(/step [1-9]/);
      for (const pid of command.workers()) process.kill(pid, "SIGUSR1");
      const { status, stderr } = await command.finished;
      assert.equal(status, 1);
      assert.match(stderr, /mixhead: decoupled: .*SyntaxError: broken PNG file/);
      const page = await readFile(join(folder, "runs", "failed", "report.html"), "utf8");
      assert.match(page, /broken PNG file/);
    });

    it("ends with one sentence when a worker hangs, which keeps its connection", async () => {
      // Blocks the worker's main thread when it is told to.
      const hang = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(1e6))";
      await writeFile(join(folder, "sitecustomize.py"), hang);
      const settings = [...tiny, "train.steps=100000", "train.stop=100000", "bridge.deadline=2"];
      const seldom = ["train.evaluateEvery=100000", "train.checkpointEvery=100000"]; // a command takes what it takes
      const args = ["train", configs[1] ?? "", ...settings, ...seldom, "--name", "hung"];
      const command = new CommandLine(folder, args, { PYTHONPATH: folder });
      await command.says(/step [1-9]/);
      for (const pid of command.workers()) process.kill(pid, "SIGUSR1");
      const { status, stderr } = await command.finished;
      assert.equal(status, 1);
      assert.match(stderr, /mixhead: decoupled: the worker hangs: its part of step \d+ did not come within/);
      assert.equal(leftRunning(), "");
    });

    it("loses nothing to --force if the replacing run fails at once", async () => {
      const args = ["train", configs[1] ?? "", ...tiny, "--name", "kept"];
      assert.equal((await mixhead(folder, ...args)).status, 0);
      const failed = await mixhead(folder, ...args, "encoder.name=conv-smal", "--force");
      assert.equal(failed.status, 2);
      assert.ok(existsSync(join(folder, "runs", ".replaced", "kept", "summary.json")));
    });

    const mistakes: [string, string[], RegExp][] = [
      ["a wrong key", ["train.stp=3"], /train\.stp is not a setting; the nearest is train\.stop/],
      ["a wrong value", ["train.lr=-1"], /train\.lr is -1; allowed: a number above 0/],
      ["an encoder that is not there", [...tiny, "encoder.name=resnet18_32"], /resnet18-32/],
      ["a device that is not there", [...tiny, "device=cuda"], /CUDA/],
      [
        "a plugin that is not there",
        ["plugin.kind=online-gm"],
        /decoupled: plugin\.kind is "online-gm"; allowed/,
      ],
      ["a plugin's file that is not there", ["plugin.kind=mine.ts"], /cannot read mine\.ts: no such file/],
      ["a schedule from 0", ["train.weightDecay={exponential: {from: 0, to: 1}}"], /exponential/],
      ["a view with no other", ["views.global=1", "views.local=0"], /views\.global \+ views\.local is 1/],
    ];
    for (const [what, overrides, expected] of mistakes) {
      it(`says ${what} in one sentence`, async () => {
        const done = await mixhead(folder, "train", configs[1] ?? "", ...overrides, "--name", "wrong");
        assert.equal(done.status, 2);
        assert.match(done.stderr, expected);
        assert.doesNotMatch(done.stderr, /Traceback|\n\s+at /);
      });
    }
  });
});
