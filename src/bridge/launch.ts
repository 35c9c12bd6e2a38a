import type { ChildProcess } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { RunError, UserError } from "../errors.ts";
import { plain, pythonSentence } from "./python-error.ts";
import { type Python, patient, startPython } from "./pythonia.ts";

/** What a Python installation offers. */
export interface Preflight {
  /** The interpreter's path. */
  python: string;
  /** Versions of Python and of the installed packages. */
  versions: Record<string, string>;
  cuda: boolean;
  /** "cpu", "cuda:0 NAME", ... */
  devices: string[];
}

interface ProcessOptions {
  endpoint: string;
  run: string;
  /** Seconds that any of its waits may take at most. */
  deadline?: number;
  /** "cpu", "cuda", ...; "auto": CUDA if available. */
  device?: string;
  /** Limit of the memory for tensors of programs, in bytes. Default: the device's memory. */
  memory?: number;
  /** Variables that are added to this process's environment. */
  env: Record<string, string>;
  /** The file that its output is appended to. */
  log: string;
  /** Starts this many ranks on this host with torchrun, which restarts them up to `restarts` times if one ends too soon. */
  torchrun?: { ranks: number; restarts: number } | undefined;
}

/** A process that trains: one rank of a run. */
export interface WorkerOptions extends ProcessOptions {
  module?: "mixhead.worker";
  mixture: string;
  /** Default: what torchrun sets. */
  rank?: number;
  world?: number;
}

/** A process that carries out runs of programs until goodbye. */
export interface ExecutorOptions extends ProcessOptions {
  module: "mixhead.executor";
  /** CPU threads. Default: PyTorch's own choice. */
  threads?: number;
}

/** A request to launch.py: an action and its arguments. */
type Request = { do: string } & Record<string, unknown>;

/** How a worker ended. */
export interface WorkerExit {
  /** Its exit status; null if a signal ended it. */
  code: number | null;
  signal: string | null;
  /** The last part of its output. */
  stderrTail: string;
  /** What went wrong, in one sentence; "" after a regular end. */
  error: string;
}

export interface Worker {
  pid: number;
  exited: Promise<WorkerExit>;
  /** Kills it, since it ignores signals that ask it to end, and waits for its end. */
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
 * The Python process that launches workers. pythonia runs it; this class adds deadlines and watches the workers. Only
 * JSON strings are exchanged, because a NaN would crash this process. There is one at a time.
 */
export class PythonControl {
  private static current: PythonControl | undefined;
  /** By their number in this class, since a worker may end before its process id is known. */
  private readonly workers = new Map<number, (exit: WorkerExit) => void>();
  private launched = 0;
  private readonly process: ChildProcess;
  /** Why this class ended the process; undefined if it did not. */
  private ended: string | undefined;
  /** Resolves when the process ends, with a phrase that says how. */
  private readonly gone: Promise<string>;

  private constructor(
    private readonly python: Python,
    private readonly deadline: number,
  ) {
    this.process = python.process;
    this.process.on("error", () => {}); // a message was sent to a process that has just ended
    this.gone = new Promise((resolve) => {
      const tell = () =>
        resolve(this.ended ?? `has ended (${this.process.signalCode ?? `status ${this.process.exitCode}`})`);
      if (this.process.exitCode !== null || this.process.signalCode !== null) tell();
      else this.process.once("exit", tell);
    });
    void this.gone.then((how) => this.lose(how));
    python.module.catch(() => {}); // `question` awaits and reports it
  }

  /**
   * Starts the process. `deadline`: seconds that any of its answers may take.
   *
   * @throws UserError if there is no such interpreter, RunError if it does not start.
   */
  static async start({
    python,
    deadline = 60,
  }: {
    python: string;
    deadline?: number;
  }): Promise<PythonControl> {
    await access(python, constants.X_OK).catch(() => {
      throw new UserError(`${python} is not an executable file: set MIXHEAD_PYTHON to the Python to use`);
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

  /** The id of the control process. */
  get pid(): number | undefined {
    return this.process.pid;
  }

  /**
   * Versions and devices. Takes seconds if it has to look for GPUs, since that imports torch.
   *
   * @throws RunError if torch cannot be imported
   */
  preflight({ gpus }: { gpus: boolean }): Promise<Preflight> {
    return this.ask(preflight, { do: "preflight", gpus }, Math.max(this.deadline, 180));
  }

  /** Starts a worker process. It ends with this process, however this process ends. */
  async launch(options: WorkerOptions | ExecutorOptions): Promise<Worker> {
    const id = this.launched++;
    const { env, log, torchrun, module = "mixhead.worker", ...named } = options;
    const args = Object.entries(named).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}=${value}`],
    );
    const how = { id, module, arguments: args, env, log, ...torchrun };
    const exited = new Promise<WorkerExit>((resolve) =>
      this.workers.set(id, (exit) => resolve(withTraceback(exit, log))),
    );
    try {
      if (this.workers.size === 1) void this.watch(); // before the answer, since another launch may begin meanwhile
      const pid = await this.ask(z.int(), { do: "launch", ...how });
      return { pid, exited, stop: () => this.stop(id).then(() => exited) };
    } catch (error) {
      this.workers.delete(id);
      throw error;
    }
  }

  /** Ends the workers and the process. Nothing is left that would keep Node alive. */
  async close(): Promise<void> {
    await Promise.all([...this.workers.keys()].map((id) => this.stop(id)));
    while (this.workers.size > 0) await this.reap().catch(() => this.workers.clear());
    this.process.kill("SIGKILL"); // it has nothing to save, and ignores other signals
    await this.gone;
  }

  /** Stops a worker. A failure is ignored: if the process is gone, so is the worker. */
  private async stop(id: number): Promise<void> {
    await this.ask(z.null(), { do: "stop", id }).catch(() => {});
  }

  /** Sends a request to launch.py. Throws RunError if it answers with an error, is gone, or does not answer in time. */
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
        // If this process was stopped, an answer that came meanwhile is read first.
        sleep(seconds * 1000 + UNREAD_MS, undefined, { signal: timer.signal }).then(() => {
          // A process that is stopped or hangs would not report how its workers end, either.
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

  /** Polls the workers as long as there are any. */
  private async watch(): Promise<void> {
    while (this.workers.size > 0) await this.reap().catch(() => {}); // if the process is gone, `lose` reports it
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

/** Says where the whole traceback is, if Python wrote one. */
function withTraceback(exit: WorkerExit, log: string): WorkerExit {
  if (exit.error === "" || !exit.stderrTail.includes("Traceback (")) return exit;
  return { ...exit, error: `${exit.error} (traceback in ${log})` };
}
