import type { ChildProcess } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { RunError, UserError } from "../errors.ts";
import { plain, pythonSentence } from "./python-error.ts";
import { type Python, patient, startPython } from "./pythonia.ts";

/** What a Python has. */
export interface Preflight {
  /** The interpreter's path. */
  python: string;
  /** Of Python itself and of the packages that are installed. */
  versions: Record<string, string>;
  cuda: boolean;
  /** "cpu", "cuda:0 NAME", ... */
  devices: string[];
}

interface ProcessOptions {
  endpoint: string;
  run: string;
  /** Seconds that any of its waits may take. */
  deadline?: number;
  /** "cpu", "cuda", ...; "auto": CUDA where there is some. */
  device?: string;
  /** Bytes that tensors of programs may take there; what the device has, where it is left out. */
  memory?: number;
  /** Beside this process's own environment. */
  env: Record<string, string>;
  /** The file that its output is appended to. */
  log: string;
  /** Has torchrun start so many of it on this host, and again so often where one has ended too soon. */
  torchrun?: { ranks: number; restarts: number } | undefined;
}

/** A process that trains: one rank of a run. */
export interface WorkerOptions extends ProcessOptions {
  module?: "mixhead.worker";
  mixture: string;
  /** What torchrun says, where they are left out. */
  rank?: number;
  world?: number;
}

/** A process that carries out runs of programs until it is told goodbye. */
export interface ExecutorOptions extends ProcessOptions {
  module: "mixhead.executor";
  /** Threads of a CPU; PyTorch's own choice, where it is left out. */
  threads?: number;
}

/** A question to launch.py: an action of its, and that action's arguments. */
type Request = { do: string } & Record<string, unknown>;

/** How a worker ended. */
export interface WorkerExit {
  /** Its status; null where a signal ended it. */
  code: number | null;
  signal: string | null;
  /** The end of what it wrote. */
  stderrTail: string;
  /** What went wrong, in one sentence; "" after a regular end. */
  error: string;
}

export interface Worker {
  pid: number;
  exited: Promise<WorkerExit>;
  /** Kills it, since signals that ask do not reach it, and waits for its end. */
  stop(): Promise<WorkerExit>;
}

const LAUNCH_PY = fileURLToPath(new URL("../../python_env/mixhead/worker/launch.py", import.meta.url));
const POLL_MS = 200;
const UNREAD_MS = 100;

const answer = z.union([z.strictObject({ ok: z.unknown() }), z.strictObject({ error: z.string() })]);
const preflight = z.strictObject({
  python: z.string(),
  versions: z.record(z.string(), z.string()),
  cuda: z.boolean(),
  devices: z.array(z.string()),
});
const ended = z.array(
  z.strictObject({
    id: z.int(),
    pid: z.int(),
    code: z.int().nullable(),
    signal: z.string().nullable(),
    tail: z.string(),
  }),
);

/**
 * The Python process that launches workers: pythonia's, behind deadlines and a watch. Only JSON
 * strings cross, because a NaN would end this process. There is one at a time.
 */
export class PythonControl {
  private static current: PythonControl | undefined;
  /** By their number here, since a worker may end before its process id is known. */
  private readonly workers = new Map<number, (exit: WorkerExit) => void>();
  private launched = 0;
  private readonly process: ChildProcess;
  /** Why it was ended from here; undefined where it was not. */
  private ended: string | undefined;
  /** Settles as the process ends, with how it did. */
  private readonly gone: Promise<string>;

  private constructor(
    private readonly python: Python,
    private readonly deadline: number,
  ) {
    this.process = python.process;
    this.process.on("error", () => {}); // a message to a process that has just ended
    this.gone = new Promise((resolve) => {
      const tell = () =>
        resolve(this.ended ?? `has ended (${this.process.signalCode ?? `status ${this.process.exitCode}`})`);
      if (this.process.exitCode !== null || this.process.signalCode !== null) tell();
      else this.process.once("exit", tell);
    });
    void this.gone.then((how) => this.lose(how));
    python.module.catch(() => {}); // reported where it is awaited
  }

  /**
   * Starts the process. `deadline`: seconds that it may take to answer anything.
   *
   * @throws UserError where there is no such interpreter, RunError where it does not start.
   */
  static async start({
    python,
    deadline = 60,
  }: {
    python: string;
    deadline?: number;
  }): Promise<PythonControl> {
    await access(python, constants.X_OK).catch(() => {
      throw new UserError(
        `${python} is not a program that can be run: MIXHEAD_PYTHON says which Python to use`,
      );
    });
    if (PythonControl.current) throw new Error("there is a control process already: close it first");
    const control = new PythonControl(await startPython(python, LAUNCH_PY), deadline);
    PythonControl.current = control;
    try {
      await control.ask(z.int(), { do: "begin" });
      return control;
    } catch (error) {
      await control.close();
      throw error;
    }
  }

  /** The control process. */
  get pid(): number | undefined {
    return this.process.pid;
  }

  /** Versions and devices; seconds, since torch is loaded. Throws RunError where torch cannot be. */
  preflight(): Promise<Preflight> {
    return this.ask(preflight, { do: "preflight" }, Math.max(this.deadline, 180));
  }

  /** Starts a worker process. It ends with this process, whatever ends that. */
  async launch(options: WorkerOptions | ExecutorOptions): Promise<Worker> {
    const id = this.launched++;
    const { env, log, torchrun, module = "mixhead.worker", ...named } = options;
    const args = Object.entries(named).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}=${value}`],
    );
    const how = { id, module, arguments: args, env, log, ...torchrun };
    const exited = new Promise<WorkerExit>((resolve) => this.workers.set(id, resolve));
    try {
      if (this.workers.size === 1) void this.watch(); // before the answer: another launch may come meanwhile
      const pid = await this.ask(z.int(), { do: "launch", ...how });
      return { pid, exited, stop: () => this.stop(id).then(() => exited) };
    } catch (error) {
      this.workers.delete(id);
      throw error;
    }
  }

  /** Ends the workers and the process; nothing is left that would keep Node from ending. */
  async close(): Promise<void> {
    await Promise.all([...this.workers.keys()].map((id) => this.stop(id)));
    while (this.workers.size > 0) await this.reap().catch(() => this.workers.clear());
    this.process.kill("SIGKILL"); // it has nothing to keep, and ignores what asks
    await this.gone;
  }

  /** Where the process is gone, so is the worker. */
  private async stop(id: number): Promise<void> {
    await this.ask(z.null(), { do: "stop", id }).catch(() => {});
  }

  /** One question to launch.py. Throws RunError: what it answered, that it is gone, or that it is silent. */
  private async ask<T>(schema: z.ZodType<T>, request: Request, seconds = this.deadline): Promise<T> {
    const timer = new AbortController();
    const failed = (why: string) =>
      new RunError(
        "worker-failed",
        `Python could not ${request.do === "begin" ? "start" : request.do}: ${why}`,
      );
    try {
      const text = await Promise.race([
        this.question(request).catch((error) => {
          throw failed(
            pythonSentence(error instanceof Error ? (error.stack ?? error.message) : String(error)),
          );
        }),
        this.gone.then((how) => {
          throw failed(`the process that launches workers ${how}`);
        }),
        // Where this process was stopped, an answer that came meanwhile is read first.
        sleep(seconds * 1000 + UNREAD_MS, undefined, { signal: timer.signal }).then(() => {
          // One that is stopped or hangs would not say how its workers end, either.
          this.ended = `did not answer "${request.do}" within ${seconds} s and was ended`;
          this.process.kill("SIGKILL");
          throw new RunError("deadline", `Python did not answer "${request.do}" within ${seconds} s`);
        }),
      ]);
      const reply = answer.parse(JSON.parse(z.string().parse(text)));
      if ("error" in reply) throw failed(reply.error);
      return schema.parse(reply.ok);
    } finally {
      timer.abort();
    }
  }

  private async question(request: object): Promise<unknown> {
    const module = await this.python.module;
    return module.answer$(JSON.stringify(request), patient());
  }

  /** Looks after the workers as long as there are any. */
  private async watch(): Promise<void> {
    while (this.workers.size > 0) await this.reap().catch(() => {}); // if the process is gone, `lose` tells
  }

  private async reap(): Promise<void> {
    await sleep(POLL_MS);
    if (this.workers.size === 0) return;
    for (const { id, pid, code, signal, tail } of await this.ask(ended, { do: "reap" })) {
      const how = signal === null ? `ended with status ${code}` : `was ended by ${signal}`;
      const said = pythonSentence(tail);
      const error = code === 0 ? "" : `the worker (process ${pid}) ${how}${said && `: ${said}`}`;
      this.workers.get(id)?.({ code, signal, stderrTail: plain(tail), error });
      this.workers.delete(id);
    }
  }

  /** The process has ended, and its workers with it. */
  private lose(how: string): void {
    PythonControl.current = undefined;
    this.python.release();
    const error = `the Python process that launches workers ${how}, and its workers with it`;
    for (const resolve of this.workers.values()) resolve({ code: null, signal: null, stderrTail: "", error });
    this.workers.clear();
  }
}
