import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { readSafetensors } from "../../src/files/safetensors.ts";
import { packageRoot } from "../../src/setup/paths.ts";
import { pythonPath } from "../../src/setup/python.ts";
import { CommandLine, tiny } from "../cli/command.ts";
import { leavings } from "./leavings.ts";

const config = join(packageRoot, "configs", "demo", "decoupled.yaml");
const LAST = 20;
const settings = [
  ...tiny,
  `train.stop=${LAST}`,
  "train.checkpointEvery=5",
  "train.evaluateEvery=10",
  "placement=host",
];

/** What the last checkpoint holds of encoder, head and mixture, and the losses on the way. */
async function learned(run: string) {
  const arm = join(run, "decoupled");
  const last = join(arm, "checkpoints", `step-${String(LAST).padStart(7, "0")}`);
  const [student, mixture] = await Promise.all(
    ["student", "mixture"].map((file) => readSafetensors(join(last, `${file}.safetensors`))),
  );
  const lines = await readMetrics(join(arm, "metrics.jsonl"));
  return { tensors: { ...student?.tensors, ...mixture?.tensors }, losses: lines.map(({ loss }) => loss) };
}

/** A shift before a batch norm: its gradient is rounding alone, which AdamW makes whole steps of. */
const UNDECIDED = ["head.layers.4.bias", "head.norm.running_mean"];

function assertClose(found: Awaited<ReturnType<typeof learned>>, expected: typeof found): void {
  for (const [name, { data }] of Object.entries(expected.tensors)) {
    if (UNDECIDED.includes(name)) continue;
    const other = found.tensors[name]?.data ?? assert.fail(`there is no ${name}`);
    for (const [i, value] of data.entries()) {
      const apart = Math.abs(Number(other[i]) - Number(value));
      assert.ok(apart <= 1e-4 * (1 + Math.abs(Number(value))), `${name}[${i}]: ${other[i]}, not ${value}`);
    }
  }
  assert.equal(found.losses.length, expected.losses.length);
  for (const [i, loss] of expected.losses.entries()) {
    assert.ok(Math.abs((found.losses[i] ?? 0) - (loss ?? 0)) <= 1e-3, `loss ${i}: ${found.losses[i]}, not ${loss}`);
  }
}

/** A port that nobody listens at. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : assert.fail();
}

/** torchrun with two ranks that connect, as somebody starts it on another host. */
function connect(name: string, endpoint: string, keys: string): Promise<{ status: number | null; said: string }> {
  const torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"];
  const worker = ["--nproc-per-node=2", "-m", "mixhead.worker", "--connect", endpoint, "--keys", keys];
  const process_ = spawn(pythonPath(), [...torchrun, ...worker, "--name", name], {
    env: { ...process.env, OMP_NUM_THREADS: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [process_.stdout, process_.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  return new Promise((resolve) => process_.once("close", (status) => resolve({ status, said })));
}

/** The numbers of the processes that are ranks of a world that this command has started. */
function ranksOf(command: CommandLine): number[] {
  return command.workers().filter((pid) => {
    const line = execFileSync("ps", ["-o", "args=", "-p", String(pid)], { encoding: "utf8" });
    return line.includes("launch work");
  });
}

describe("a run of several ranks", function () {
  this.timeout(600_000);
  let folder: string;
  const at = (name: string) => join(folder, "runs", name);
  const start = (name: string, ...more: string[]) =>
    new CommandLine(folder, ["train", config, ...settings, "--name", name, ...more]);

  async function done(command: CommandLine): Promise<string> {
    const { status, stderr } = await command.finished;
    assert.equal(status, 0, stderr);
    return stderr;
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    await done(start("one"));
    await done(start("two", "--ranks", "2"));
  });
  after(() => rm(folder, { recursive: true }));

  it("trains with two what one trains with the whole batch, the mixture in Node", async () => {
    assertClose(await learned(at("two")), await learned(at("one")));
  });

  it("trains the same with the mixture on the ranks' device", async () => {
    await done(start("device", "placement=device", "--ranks", "2"));
    assertClose(await learned(at("device")), await learned(at("one")));
  });

  it("goes on from the last checkpoint where a rank was killed and torchrun starts all of them again", async () => {
    const command = start("killed", "--ranks", "2", "--max-restarts", "1");
    while (!existsSync(join(at("killed"), "decoupled", "checkpoints", "step-0000010"))) await sleep(10);
    process.kill(ranksOf(command)[1] ?? assert.fail("there are two ranks"), "SIGKILL");
    assert.match(await done(command), /decoupled: rank \d was lost at step \d+: .*; it goes on from the checkpoint of/);
    assert.deepEqual(await leavings(at("killed"), ["decoupled"]), await leavings(at("two"), ["decoupled"]));
  });

  it("fails in one sentence where a rank was killed and none starts it again, and resumes with as many", async () => {
    const command = start("ended", "--ranks", "2");
    while (!existsSync(join(at("ended"), "decoupled", "checkpoints", "step-0000010"))) await sleep(10);
    process.kill(ranksOf(command)[0] ?? assert.fail("there are two ranks"), "SIGKILL");
    const { status, stderr } = await command.finished;
    assert.equal(status, 1);
    assert.match(stderr, /mixhead: decoupled: .*rank 0 .*\n$/);
    await done(new CommandLine(folder, ["resume", "ended", "--ranks", "2"]));
    assert.deepEqual(await leavings(at("ended"), ["decoupled"]), await leavings(at("two"), ["decoupled"]));
  });

  it("trains with ranks that others start and that have its keys", async () => {
    const endpoint = `tcp://127.0.0.1:${await freePort()}`;
    const keys = join(folder, "keys");
    const command = start("listens", "--listen", endpoint, "--keys", keys, "--ranks", "2");
    await command.says(/waits for the ranks of run listens at tcp/);
    const { status, said } = await connect("listens", endpoint, keys);
    assert.equal(status, 0, said);
    await done(command);
    assert.deepEqual(await leavings(at("listens"), ["decoupled"]), await leavings(at("two"), ["decoupled"]));
  });

  it("refuses what cannot be, and starts nothing", async () => {
    const cases: [string[], RegExp][] = [
      [["--ranks", "3"], /train.batch is 16, which 3 ranks cannot share evenly; allowed for --ranks: 1, 2, 4, 8, 16/],
      [["--keys", "keys"], /--keys are for ranks of other hosts: give --listen too/],
      [["--max-restarts", "1"], /give --ranks too/],
      [["--listen", "tcp://0.0.0.0:7000"], /can be reached from other machines: give keys/],
    ];
    for (const [more, sentence] of cases) {
      const { status, stderr } = await start("refused", ...more).finished;
      assert.equal(status, 2, stderr);
      assert.match(stderr, sentence);
    }
  });
});
