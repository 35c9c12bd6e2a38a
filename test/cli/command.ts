import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";

export interface Finished {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A run so small that it takes seconds: real images, a real worker, a real mixture. */
export const tiny = [
  "device=cpu",
  "data.train=600",
  "data.test=200",
  "train.batch=16",
  "train.steps=40",
  "train.stop=8",
  "train.evaluateEvery=4",
  "train.checkpointEvery=4",
  "plugin.components=32",
];

/** `npx mixhead ARGS` in a folder of its own. */
export class CommandLine {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout = "";
  stderr = "";

  constructor(cwd: string, args: string[], env: Record<string, string> = {}) {
    this.process = spawn(process.execPath, [join(packageRoot, "bin", "mixhead.mjs"), ...args], {
      cwd,
      env: { ...process.env, OMP_NUM_THREADS: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.finished = once(this.process, "close").then(() => ({
      status: this.process.exitCode,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }

  /** The process ids of its workers. */
  workers(): number[] {
    const all = execFileSync("ps", ["-eo", "pid=,ppid=,args="], { encoding: "utf8" }).split("\n");
    const rows = all.map((line) => line.trim().split(/\s+/));
    const below = (parent: number): string[][] =>
      rows.filter((row) => Number(row[1]) === parent).flatMap((row) => [row, ...below(Number(row[0]))]);
    return below(this.process.pid ?? -1)
      .filter((row) => row.includes("mixhead.worker.launch") && row.includes("work"))
      .map(([pid]) => Number(pid));
  }

  /** Resolves as soon as standard error matches. */
  async says(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.stderr)) {
      if (this.process.exitCode !== null) throw new Error(`ended without saying ${pattern}:\n${this.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

export function mixhead(cwd: string, ...args: string[]): Promise<Finished> {
  return new CommandLine(cwd, args).finished;
}
