import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
export const PYTHON = here("../../python_env/.venv/bin/python");

const reply = z.object({
  ok: z.unknown().optional(),
  error: z
    .object({
      name: z.string(),
      message: z.string(),
      code: z.string().nullable(),
      row: z.number().nullable(),
    })
    .optional(),
  seconds: z.number().optional(),
});

/** What a Client call raised in a Python peer. */
export class PeerFailure extends Error {
  constructor(
    readonly kind: string,
    readonly code: string | null,
    readonly row: number | null,
    message: string,
    /** How long the call took before it raised. */
    readonly seconds: number,
  ) {
    super(message);
  }
}

/** A Python process that drives a real Client: `call("connect", {...})` and so on, see peer.py. */
export class PythonPeer {
  private readonly lines: AsyncIterator<string>;

  private constructor(readonly process: ChildProcess) {
    if (!process.stdout) throw new Error("the peer has no standard output");
    this.lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
  }

  /** `script`: whose calls go beyond those of peer.py. */
  static async start(script = here("peer.py")): Promise<PythonPeer> {
    const child = spawn(PYTHON, [script], {
      cwd: here("../../python_env"),
      env: { ...process.env, OMP_NUM_THREADS: "1", PYTHONPATH: here("../../python_env") },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const peer = new PythonPeer(child);
    await peer.lines.next();
    return peer;
  }

  /** A connected client, as rank of a world. */
  async join(endpoint: string, options: object = {}): Promise<unknown> {
    await this.call("open", { endpoint, run: "test", deadline: 10, ...options });
    return this.call("connect");
  }

  async call(name: string, args: object = {}): Promise<unknown> {
    this.process.stdin?.write(`${JSON.stringify([name, args])}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`the peer ended during ${name}`);
    const { ok, error, seconds } = reply.parse(JSON.parse(value));
    if (error) throw new PeerFailure(error.name, error.code, error.row, error.message, seconds ?? 0);
    return ok;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, "exit");
    this.process.kill(signal);
    await gone;
  }
}
