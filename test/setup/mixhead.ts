import { spawn } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";

/** Runs a Node program to its end. */
export function node(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<{ status: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: options.cwd,
      env: { ...process.env, NODE_OPTIONS: "", ...options.env },
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, out, err }));
  });
}

/** Runs `mixhead ARGS`. */
export function mixhead(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): ReturnType<typeof node> {
  return node([join(packageRoot, "bin", "mixhead.mjs"), ...args], options);
}
