import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { RunError, UserError } from "../errors.ts";
import { pythonEnv } from "../files/paths.ts";
import { pythonPath } from "../files/python.ts";

/** Without a terminal, progress is printed as a line at this interval. */
const LINE_MS = 5000;
/** The prefix of a progress line. Other lines on standard error report errors. */
const PROGRESS = "... ";

/**
 * Runs a Python module to its end, shows its progress on standard error, and returns the JSON that it
 * printed.
 *
 * @throws UserError with its last line if it exits with 2; RunError if it fails otherwise
 */
export async function askPython(module: string, args: readonly string[]): Promise<unknown> {
  const child = spawn(pythonPath(), ["-m", module, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    // A file in the current folder must not shadow a Python module.
    env: { ...process.env, PYTHONSAFEPATH: "1", PYTHONPATH: pythonEnv },
  });
  const progress = new ProgressLine();
  let output = "";
  let last = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  createInterface({ input: child.stderr }).on("line", (line) => {
    if (line.startsWith(PROGRESS)) progress.show(line.slice(PROGRESS.length));
    else if (line.trim() !== "") last = line;
  });
  const [status, signal]: unknown[] = await once(child, "close");
  progress.clear();
  if (status === 0) return JSON.parse(output);
  if (status === 2) throw new UserError(last);
  throw new RunError("worker-failed", `${module} failed: ${last || String(signal ?? status)}`);
}

/** Shows progress in one line on standard error. */
class ProgressLine {
  private printed = 0;

  show(text: string): void {
    const { stderr } = process;
    if (stderr.isTTY) {
      stderr.write(`\r\x1b[K${text.slice(0, (stderr.columns ?? 100) - 1)}`);
    } else if (performance.now() - this.printed > LINE_MS) {
      this.printed = performance.now();
      stderr.write(`${text}\n`);
    }
  }

  clear(): void {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}
