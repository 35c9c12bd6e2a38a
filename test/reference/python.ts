import { execFile } from "node:child_process";
import { promisify } from "node:util";

const python = new URL("../../python_env/.venv/bin/python", import.meta.url).pathname;

/** Runs a script of this folder with the project's Python; its standard output. */
export async function runPython(script: string, ...args: string[]): Promise<string> {
  const path = new URL(script, import.meta.url).pathname;
  const env = { ...process.env, OMP_NUM_THREADS: "1" };
  const { stdout } = await promisify(execFile)(python, [path, ...args], { env, maxBuffer: 1 << 28 });
  return stdout;
}
