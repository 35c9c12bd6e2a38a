import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { pythonPath } from "../../src/files/python.ts";
import { readSafetensors } from "../../src/files/safetensors.ts";
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
  "train.lr=0.001", // at a higher rate AdamW makes whole steps of rounding
];

/** What the last checkpoint holds of teacher and prototypes, and the losses on the way. */
async function learned(run: string) {
  const arm = join(run, "decoupled");
  const last = join(arm, "checkpoints", `step-${String(LAST).padStart(7, "0")}`);
  const tensors = new Map<string, ArrayLike<number>>();
  for (const part of ["encoder", "head", "mixture"]) {
    const file = await readSafetensors(join(last, `${part}.safetensors`));
    for (const [name, { data }] of Object.entries(file.tensors)) tensors.set(`${part}.${name}`, data);
  }
  for (const name of tensors.keys()) {
    if (name.startsWith("mixture.") && name !== "mixture.plugin.prototypes") tensors.delete(name);
  }
  const lines = await readMetrics(join(arm, "metrics.jsonl"));
  return { tensors, losses: lines.flatMap(({ loss }) => loss ?? []) };
}

/** A shift before a batch norm: its gradient is rounding alone, which AdamW makes whole steps of. */
const UNDECIDED = ["head.layers.4.bias", "head.norm.running_mean"];

function assertClose(found: Awaited<ReturnType<typeof learned>>, expected: typeof found): void {
  for (const [name, values] of expected.tensors) {
    if (UNDECIDED.includes(name)) continue;
    const others = found.tensors.get(name) ?? assert.fail(`there is no ${name}`);
    // Nothing normalises running statistics: the rounding of 20 steps adds up in them.
    const most = name.includes("running_") ? 3e-4 : 1e-4;
    for (const [i, value] of Array.from(values).entries()) {
      const other = others[i] ?? Number.NaN;
      const isClose = Math.abs(other - value) <= most * (1 + Math.abs(value));
      assert.ok(isClose, `${name}[${i}]: ${other}, not ${value}`);
    }
  }
  assert.equal(found.losses.length, expected.losses.length);
  for (const [i, loss] of expected.losses.entries()) {
    const other = found.losses[i] ?? Number.NaN;
    assert.ok(Math.abs(other - loss) <= 1e-4 * (1 + loss), `loss ${i}: ${other}, not ${loss}`);
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

interface Ended {
  status: number | null;
  said: string;
}

/** A command and its end. */
function run(command: string, args: string[], cwd: string, env: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, OMP_NUM_THREADS: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  return new Promise((resolve) => child.once("close", (status) => resolve({ status, said })));
}

/** What torchrun is given so that its ranks connect to a run. */
function worker(name: string, endpoint: string, keys: string): string[] {
  return ["-m", "mixhead.worker", "--connect", endpoint, "--keys", keys, "--name", name];
}

/** Two network namespaces that reach each other, as two hosts do. */
class TwoHosts {
  readonly names = ["a", "b"].map((end) => `mixhead-${process.pid}-${end}`);
  readonly addresses = ["10.213.7.1", "10.213.7.2"];

  /** Throws where this machine does not let us. */
  connect(): void {
    const [a = "", b = ""] = this.names;
    for (const name of this.names) ip("netns", "add", name);
    ip("link", "add", "mixhead0", "netns", a, "type", "veth", "peer", "name", "mixhead0", "netns", b);
    for (const [i, name] of this.names.entries()) {
      ip("-n", name, "address", "add", `${this.addresses[i]}/24`, "dev", "mixhead0");
      for (const device of ["lo", "mixhead0"]) ip("-n", name, "link", "set", device, "up");
    }
  }

  /** A command on one of them. */
  on(host: number, command: string, args: string[], cwd: string): Promise<Ended> {
    const env = { GLOO_SOCKET_IFNAME: "mixhead0" };
    return run("ip", ["netns", "exec", this.names[host] ?? "", command, ...args], cwd, env);
  }

  remove(): void {
    for (const name of this.names) {
      try {
        ip("netns", "delete", name);
      } catch {} // it was not made
    }
  }
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
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

  it("resumes from the last checkpoint if a rank was killed and torchrun restarts all of them", async () => {
    const command = start("killed", "--ranks", "2", "--max-restarts", "1");
    while (!existsSync(join(at("killed"), "decoupled", "checkpoints", "step-0000010"))) await sleep(10);
    process.kill(ranksOf(command)[1] ?? assert.fail("there are two ranks"), "SIGKILL");
    assert.match(
      await done(command),
      /decoupled: rank \d was lost, and its part of step \d+ is missing: .*; it resumes from the checkpoint of/,
    );
    assert.deepEqual(await leavings(at("killed"), ["decoupled"]), await leavings(at("two"), ["decoupled"]));
  });

  it("fails in one sentence if a rank was killed and is not restarted, and can be resumed with as many ranks", async () => {
    const command = start("ended", "--ranks", "2");
    while (!existsSync(join(at("ended"), "decoupled", "checkpoints", "step-0000010"))) await sleep(10);
    process.kill(ranksOf(command)[0] ?? assert.fail("there are two ranks"), "SIGKILL");
    const { status, stderr } = await command.finished;
    assert.equal(status, 1);
    assert.match(stderr, /mixhead: decoupled: .*rank \d .*\n$/);
    await done(new CommandLine(folder, ["resume", "ended", "--ranks", "2"]));
    assert.deepEqual(await leavings(at("ended"), ["decoupled"]), await leavings(at("two"), ["decoupled"]));
  });

  it("trains with ranks that others start and that have its keys", async () => {
    const endpoint = `tcp://127.0.0.1:${await freePort()}`;
    const keys = join(folder, "keys");
    const command = start("listens", "--listen", endpoint, "--keys", keys, "--ranks", "2");
    await command.says(/waits for the ranks of run listens at tcp/);
    const torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"];
    const ranks = [...torchrun, "--nproc-per-node=2", ...worker("listens", endpoint, keys)];
    const { status, said } = await run(pythonPath(), ranks, folder);
    assert.equal(status, 0, said);
    await done(command);
    assert.deepEqual(await leavings(at("listens"), ["decoupled"]), await leavings(at("two"), ["decoupled"]));
  });

  it("trains on two hosts, which are network namespaces", async function () {
    const hosts = new TwoHosts();
    try {
      hosts.connect();
    } catch (error) {
      hosts.remove();
      console.error(`no network namespaces here, so no two hosts: ${String(error).split("\n").at(-2)}`);
      this.skip();
    }
    try {
      const keys = join(folder, "keys-of-two");
      const endpoint = `tcp://${hosts.addresses[0]}:7000`;
      const listen = ["--listen", endpoint, "--keys", keys, "--ranks", "2", "--name", "hosts"];
      const mixhead = join(packageRoot, "bin", "mixhead.mjs");
      const decides = hosts.on(
        0,
        process.execPath,
        [mixhead, "train", config, ...settings, ...listen],
        folder,
      );
      while (!existsSync(join(keys, "client.json"))) await sleep(50);
      const torchrun = (node: number) => [
        ...["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", `--node-rank=${node}`],
        ...[
          `--master-addr=${hosts.addresses[0]}`,
          "--master-port=29500",
          `--local-addr=${hosts.addresses[node]}`,
        ],
        ...worker("hosts", endpoint, keys),
      ];
      const train = [0, 1].map((host) => hosts.on(host, pythonPath(), torchrun(host), folder));
      for (const { status, said } of await Promise.all([decides, ...train])) assert.equal(status, 0, said);
      assert.deepEqual(await leavings(at("hosts"), ["decoupled"]), await leavings(at("two"), ["decoupled"]));
    } finally {
      hosts.remove();
    }
  });

  it("refuses what cannot be, and starts nothing", async () => {
    const cases: [string[], RegExp][] = [
      [
        ["--ranks", "3"],
        /train.batch is 16, which 3 ranks cannot share evenly; allowed for --ranks: 1, 2, 4, 8, 16/,
      ],
      [["--keys", "keys"], /--keys applies to ranks of other hosts: use --listen too/],
      [["--max-restarts", "1"], /use --ranks too/],
      [["--listen", "tcp://0.0.0.0:7000"], /can be reached from other machines: give keys/],
    ];
    for (const [more, sentence] of cases) {
      const { status, stderr } = await start("refused", ...more).finished;
      assert.equal(status, 2, stderr);
      assert.match(stderr, sentence);
    }
  });
});
