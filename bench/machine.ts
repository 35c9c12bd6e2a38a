import { execFileSync } from "node:child_process";
import { availableParallelism, cpus } from "node:os";
import { z } from "zod";
import { packageRoot } from "../src/files/paths.ts";
import { pythonPath } from "../src/files/python.ts";
import { run } from "../src/setup/shell.ts";
import type { Machine } from "./figure.ts";

const ofPython = z.strictObject({
  torch: z.string(),
  python: z.string(),
  threads: z.int(),
  card: z.string().nullable(),
});

const QUESTION = `
import json, platform, torch
card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
print(json.dumps({"torch": torch.__version__, "python": platform.python_version(),
                  "threads": torch.get_num_threads(), "card": card}))`;

/** The machine and the versions, which are part of every result. */
export async function describeMachine(): Promise<Machine> {
  const said = (await run(pythonPath(), ["-c", QUESTION])).trim().split("\n").at(-1) ?? "";
  const [processor] = cpus();
  return {
    cpu: processor?.model.replace(/\s+/g, " ").trim() ?? "unknown",
    cores: availableParallelism(),
    node: process.versions.node,
    ...ofPython.parse(JSON.parse(said)),
  };
}

/** The measured commit, with "+" if files differ from it. */
export function revision(): string {
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", packageRoot, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  const said = process.env.MIXHEAD_REVISION; // set by bundles, which have no repository
  if (said) return said;
  try {
    const head = git("rev-parse", "--short", "HEAD").trim();
    return git("status", "--porcelain", "--untracked-files=no").trim() === "" ? head : `${head}+`;
  } catch {
    return "unknown";
  }
}
