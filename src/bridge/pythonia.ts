import { ChildProcess } from "node:child_process";
import { dirname } from "node:path";
import { z } from "zod";

/** A Python process that pythonia runs, with one of our files loaded. */
export interface Python {
  process: ChildProcess;
  /** Settles when the file is loaded; never, if Python does not answer. */
  module: Promise<LaunchModule>;
  /** Kills the process if it still runs, so that nothing keeps Node alive. Call it once. */
  release(): void;
}

interface LaunchModule {
  /** The function `answer` of the file. The dollar sign tells pythonia that the last argument holds options. */
  answer$(request: string, options: CallOptions): Promise<unknown>;
}

interface CallOptions {
  $timeout: number;
}

/** Options of a call without pythonia's own timer, which would keep Node alive for 100 s. Make new ones for each call, which modifies them. */
export const patient = (): CallOptions => ({ $timeout: Number.POSITIVE_INFINITY });

/** The part of the package in use. Its import starts a Python process; after `exit`, `com.start` starts another. */
const pythonia = z.object({
  default: z.object({
    builtins: z.custom<Builtins>((value) => typeof value === "function"),
    com: z.custom<Channel>((value) => typeof value === "object" && value !== null && "proc" in value),
    python: z.custom<{ exit(): void }>((value) => typeof value === "function"),
  }),
});

interface Builtins {
  fileImport$(name: string, path: string, folder: string, options: CallOptions): Promise<LaunchModule>;
}

interface Channel {
  proc: unknown;
  start(): void;
}

/** Starts the interpreter at `path` and loads `file` in it. One at a time: pythonia supports a single process. */
export async function startPython(path: string, file: string): Promise<Python> {
  const before = process.env.PYTHON_BIN;
  process.env.PYTHON_BIN = path;
  try {
    const { builtins, com, python } = pythonia.parse(await import("pythonia")).default;
    if (com.proc === null) com.start();
    if (!(com.proc instanceof ChildProcess)) throw new Error("pythonia has started no process");
    const module = builtins.fileImport$("launch", file, dirname(file), patient());
    return { process: com.proc, module, release: () => python.exit() };
  } finally {
    if (before === undefined) delete process.env.PYTHON_BIN;
    else process.env.PYTHON_BIN = before;
  }
}
