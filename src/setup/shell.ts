import { spawn } from "node:child_process";
import { shareLock } from "../files/lock.mjs";
import { setupLock } from "../files/paths.ts";

export interface RunOptions {
  cwd?: string;
  /** Variables in addition to this process's environment. */
  env?: Record<string, string>;
  /** When it aborts, the program and its children are ended. */
  signal?: AbortSignal;
  /** Called with every line that the program writes, on either stream. */
  onLine?: (line: string) => void;
}

/** A program that failed or was ended. `lines`: the last lines that it wrote. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
  constructor(
    what: string,
    readonly lines: readonly string[],
  ) {
    super([what, ...lines].join("\n  "));
  }
}

const running = new Set<number>();
process.once("exit", () => running.forEach(endGroup));

/**
 * Runs a program to its end and returns its standard output. It runs in its own process group, which
 * ends with this process.
 * @throws CommandFailed
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const { pid } = child;
    const end = () => pid !== undefined && endGroup(pid);
    if (pid !== undefined) {
      running.add(pid);
      shareLock(setupLock, pid); // it outlives a set-up that is killed, and the next one waits for it
    }
    options.signal?.addEventListener("abort", end);

    let output = "";
    const tail: string[] = [];
    const listen = (chunk: string) => {
      const lines = chunk.split(/[\r\n]+/).filter((line) => line.trim() !== "");
      tail.push(...lines);
      tail.splice(0, tail.length - 15);
      if (options.onLine) lines.forEach(options.onLine);
    };
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      listen(chunk);
    });
    child.stderr.setEncoding("utf8").on("data", listen);

    const settle = () => {
      if (pid !== undefined) running.delete(pid);
      options.signal?.removeEventListener("abort", end);
    };
    child.once("error", (error) => {
      settle();
      reject(new CommandFailed(`${command} cannot be started: ${error.message}`, []));
    });
    child.once("close", (code, signal) => {
      settle();
      if (code === 0) return resolve(output);
      const how = options.signal?.aborted ? `: ${String(options.signal.reason)}` : ` (${signal ?? code})`;
      reject(new CommandFailed(`${command} ${args[0] ?? ""} failed${how}`, tail));
    });
  });
}

/** Whether a program exists and runs successfully with `args`. */
export async function answers(command: string, args: readonly string[] = ["--version"]): Promise<boolean> {
  return run(command, args).then(
    () => true,
    () => false,
  );
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGTERM");
  } catch {
    // It has ended already.
  }
}
