import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { NONE } from "../../src/backend/torch/program.ts";
import type { Tensor } from "../../src/bridge/codec.ts";
import type { Run } from "../../src/bridge/executor-run.ts";
import { PythonControl, type WorkerOptions } from "../../src/bridge/launch.ts";
import { pythonSentence } from "../../src/bridge/python-error.ts";
import type { Hello } from "../../src/bridge/room.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { PYTHON } from "./peers.ts";

/** Whether a process is there and no zombie. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Processes, zombies too, that were started by this one or by one of its children. */
function descendants(parent = process.pid): number[] {
  const children = execFileSync("ps", ["-eo", "pid=,ppid=,args="], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, ppid, command]) => Number(ppid) === parent && command !== "ps")
    .map(([pid]) => Number(pid));
  return children.flatMap((child) => [child, ...descendants(child)]);
}

async function untilDead(...pids: number[]): Promise<void> {
  while (pids.some(isAlive)) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Reads numbers from a device as soon as one is there. */
class ReadingRoom extends EchoRoom {
  private told: (values: Tensor["data"]) => void = () => {};
  private formed: (send: (run: Run) => void) => void = () => {};
  private readonly world = new Promise<(run: Run) => void>((resolve) => {
    this.formed = resolve;
  });

  attach(send: (run: Run) => void): void {
    this.formed(send);
  }

  values(_seq: number, [tensor]: Tensor[]): void {
    if (tensor) this.told(tensor.data);
  }

  /** Numbers that were uploaded before. */
  async read(numbers: number[]): Promise<Tensor["data"]> {
    const send = await this.world;
    const data = Float32Array.from(numbers);
    const uploads: Run["uploads"] = new Map([[1, { dtype: "float32", shape: [numbers.length], data }]]);
    const nothing = { program: "", inputs: [], base: 0, free: [], literals: [], forget: false };
    const unnamed = { rows: NONE, metrics: NONE, prototypes: NONE, targets: NONE };
    return new Promise((resolve) => {
      this.told = resolve;
      send({ seq: 1, ...nothing, ...unnamed, reads: [1], uploads });
    });
  }
}

describe("launching Python workers", function () {
  this.timeout(60_000);
  let folder: string;
  let before: number[];
  let options: WorkerOptions;

  beforeEach(async () => {
    before = descendants();
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    options = {
      endpoint: `ipc://${join(folder, "nobody")}`,
      run: "test",
      mixture: "default",
      rank: 0,
      world: 1,
      deadline: 60,
      env: { OMP_NUM_THREADS: "1" },
      log: join(folder, "worker.log"),
    };
  });

  afterEach(async () => {
    await rm(folder, { recursive: true });
    assert.deepEqual(descendants(), before, "processes are left");
  });

  it("reports what the Python offers, and a worker's failure in one sentence with the path of its traceback", async () => {
    const control = await PythonControl.start({ python: PYTHON });
    const { versions, devices } = await control.preflight({ gpus: true });
    assert.match(versions.torch ?? "", /^\d/);
    assert.equal(devices[0], "cpu");
    const [known, unknown] = await Promise.all([
      control.launch({ ...options, deadline: 0.2 }),
      control.launch({ ...options, endpoint: "nonsense", log: join(folder, "other.log") }),
    ]);
    const [waited, raised] = await Promise.all([known.exited, unknown.exited]);
    assert.equal(waited.code, 1);
    assert.match(
      waited.error,
      /ended with status 1: run "test", rank 0: waited for a welcome from the plugin at ipc/,
    );
    assert.match(
      raised.error,
      /ended with status 1: ValueError: "nonsense" is not an endpoint.* \(traceback in .*other\.log\)$/,
    );
    assert.equal(raised.error.split("\n").length, 1);
    assert.match(raised.stderrTail, /Traceback/);
    await control.close();
  });

  it("stops workers, and leaves nothing running, whether they were stopped before or not", async () => {
    const control = await PythonControl.start({ python: PYTHON });
    const one = await control.launch(options);
    const two = await control.launch({ ...options, rank: 1, world: 2 });
    assert.deepEqual((await one.stop()).signal, "SIGKILL");
    assert.ok(isAlive(two.pid));
    await control.close();
    assert.equal((await two.exited).signal, "SIGKILL");
    await control.close();
    const again = await PythonControl.start({ python: PYTHON });
    await again.close();
  });

  it("launches an executor, which serves until goodbye, and refuses a missing device", async () => {
    const room = new ReadingRoom();
    const server = await BridgeServer.start({ open: async () => room });
    const control = await PythonControl.start({ python: PYTHON });
    const { endpoint, run, env, log } = { ...options, endpoint: server.endpoint };
    const executor = {
      module: "mixhead.executor",
      endpoint,
      run,
      env,
      log,
      device: "cpu",
      threads: 1,
    } as const;
    const hellos: Hello[] = [];
    room.onWelcome = (hello) => hellos.push(hello);
    const [served, refused] = await Promise.all([
      control.launch({ ...executor, memory: 1 << 20 }),
      control.launch({ ...executor, device: "cuda:99", log: join(folder, "other.log") }),
    ]);
    assert.deepEqual(await room.read([1, 2, 3]), Float32Array.of(1, 2, 3));
    assert.equal(hellos[0]?.device, "cpu");
    await server.close("enough");
    const { code, error } = await served.exited;
    assert.deepEqual([code, error], [0, ""]);
    assert.match((await refused.exited).error, /status 2: there is no device cuda:99 here/);
    await control.close();
  });

  it("stops a worker that has just died, and still reports its end", async () => {
    const control = await PythonControl.start({ python: PYTHON });
    const worker = await control.launch(options);
    process.kill(worker.pid, "SIGKILL");
    assert.equal((await worker.stop()).signal, "SIGKILL");
    await control.close();
  });

  it("notices when the control process is killed, whose workers end with it", async () => {
    const control = await PythonControl.start({ python: PYTHON });
    const [pid = 0] = descendants().filter((each) => !before.includes(each));
    const worker = await control.launch(options);
    process.kill(pid, "SIGKILL");
    assert.match((await worker.exited).error, /process that launches workers has ended \(SIGKILL\)/);
    await assert.rejects(control.preflight({ gpus: true }), {
      name: "RunError",
      message: /has ended \(SIGKILL\)/,
    });
    await untilDead(worker.pid);
    await control.close();
  });

  it("ends a control process that is stopped, and its workers with it, if it does not answer in time", async () => {
    const control = await PythonControl.start({ python: PYTHON, deadline: 20 });
    const worker = await control.launch(options);
    process.kill(control.pid ?? assert.fail(), "SIGSTOP");
    const { error } = await worker.exited;
    assert.match(
      error,
      /launches workers did not answer "reap" within 20 s and was ended, and its workers with it/,
    );
    await untilDead(worker.pid);
    await control.close();
  });

  it("refuses a file that is not an interpreter, and an interpreter that does not answer, in one sentence", async () => {
    await assert.rejects(PythonControl.start({ python: join(folder, "python") }), {
      name: "UserError",
      message: /is not an executable file/,
    });
    const deaf = join(folder, "deaf");
    await writeFile(deaf, "#!/bin/sh\nexec sleep 60\n", { mode: 0o755 });
    await assert.rejects(PythonControl.start({ python: deaf, deadline: 0.5 }), {
      name: "RunError",
      message: /did not answer "begin" within 0.5 s/,
    });
    const broken = join(folder, "broken");
    await writeFile(broken, "#!/bin/sh\nexit 3\n", { mode: 0o755 });
    await assert.rejects(PythonControl.start({ python: broken }), {
      name: "RunError",
      message: /could not start: .* ended \(status 3\)/,
    });
  });

  it("finds the sentence in what pythonia throws", () => {
    const coloured = "\x1b[31mPython Error\x1b[39m\n  at launch.py\n\u{1F309} \x1b[1mKeyError: 'x'\x1b[22m\n";
    assert.equal(pythonSentence(coloured), "KeyError: 'x'");
  });

  describe("of another Node process", () => {
    let node: ChildProcess;
    let lines: AsyncIterator<string>;
    let pids: { worker: number; control: number };

    async function line<T>(schema: z.ZodType<T>): Promise<T> {
      const { value } = await lines.next();
      return schema.parse(JSON.parse(value));
    }

    beforeEach(async () => {
      const script = fileURLToPath(new URL("launcher.ts", import.meta.url));
      node = spawn(process.execPath, ["--import", "./register.mjs", script, PYTHON, options.log], {
        detached: true, // a process group of its own, as a shell gives to a command
        stdio: ["ignore", "pipe", "inherit"],
      });
      lines = createInterface({ input: node.stdout ?? assert.fail() })[Symbol.asyncIterator]();
      pids = await line(z.strictObject({ worker: z.int(), control: z.int() }));
    });

    afterEach(() => untilDead(pids.worker, pids.control, node.pid ?? 0));

    it("leaves Ctrl-C to Node", async () => {
      process.kill(-(node.pid ?? assert.fail()), "SIGINT");
      await line(z.strictObject({ interrupted: z.literal(true) }));
      assert.ok(isAlive(pids.control) && isAlive(pids.worker));
      process.kill(pids.worker, "SIGKILL");
      const { ended } = await line(z.strictObject({ ended: z.object({ signal: z.string() }) }));
      assert.equal(ended.signal, "SIGKILL");
      if (node.exitCode === null) await once(node, "exit"); // by itself, after close()
      assert.equal(node.exitCode, 0);
    });

    it("ends the control process and the workers with Node, however Node ends", async () => {
      node.kill("SIGKILL");
      await untilDead(pids.control, pids.worker);
    });
  });
});
