import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { packageRoot } from "../src/files/paths.ts";
import { pythonPath } from "../src/files/python.ts";

const numbers = z.record(z.string(), z.number());
export type Numbers = z.infer<typeof numbers>;

const START_SECONDS = 300;
const ROUND_SECONDS = 300;

/**
 * One arm in a separate process. It writes a JSON object of numbers when it is ready, and another after each
 * line that it receives, for a round. It ends when its standard input is closed.
 */
export class ArmProcess {
  private readonly lines: AsyncIterator<string>;
  private said = "";

  private constructor(
    private readonly child: ChildProcess,
    stdout: NodeJS.ReadableStream,
  ) {
    this.lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  /** The numbers that it wrote when it was ready. */
  ready: Numbers = {};

  /** @throws Error with the last line that the process wrote, if it does not become ready */
  static async start(command: readonly string[], env: Record<string, string> = {}): Promise<ArmProcess> {
    const [program = "", ...args] = command;
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    const arm = new ArmProcess(child, child.stdout);
    child.stdin.on("error", () => {}); // it has ended; the next round reports it
    child.on("error", (error) => {
      arm.said = error.message;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      arm.said = `${arm.said}${text}`.slice(-4000);
    });
    arm.ready = await arm.numbers(START_SECONDS);
    return arm;
  }

  round(): Promise<Numbers> {
    this.child.stdin?.write("\n");
    return this.numbers(ROUND_SECONDS);
  }

  async end(): Promise<void> {
    this.child.stdin?.end();
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const late = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    await once(this.child, "exit");
    clearTimeout(late);
  }

  private async numbers(seconds: number): Promise<Numbers> {
    const patience = new AbortController();
    try {
      const line = await Promise.race([
        this.lines.next(),
        sleep(seconds * 1000, undefined, { signal: patience.signal }).then(() => {
          this.child.kill("SIGKILL");
          throw new Error(`no answer within ${seconds} s`);
        }),
      ]);
      if (!line.done) return numbers.parse(JSON.parse(line.value));
      if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, "close");
      throw new Error(this.lastWords());
    } finally {
      patience.abort();
    }
  }

  private lastWords(): string {
    const words = this.said.trim().split("\n").at(-1) ?? "";
    return words || `it ended with ${this.child.signalCode ?? `status ${this.child.exitCode}`}`;
  }
}

/** The command of an arm in Python: `bench/arms/NAME.py` with its options as JSON. */
export function python(name: string, options: object): string[] {
  return [pythonPath(), join(packageRoot, "bench", "arms", `${name}.py`), JSON.stringify(options)];
}

/** The command of an arm in Node: this program, with the arm's name. */
export function node(name: string, options: object): string[] {
  return itself("--arm", name, JSON.stringify(options));
}

/** The command line of mixhead, which this program contains, since a bundle is a single file. */
export function cli(...args: string[]): string[] {
  return itself("--cli", ...args);
}

function itself(...args: string[]): string[] {
  const [, script = ""] = process.argv;
  const loader = script.endsWith(".ts")
    ? ["--import", pathToFileURL(join(packageRoot, "register.mjs")).href]
    : [];
  return [process.execPath, ...loader, script, ...args];
}
