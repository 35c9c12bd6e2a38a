import { execFileSync } from "node:child_process";
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { packageRoot } from "../setup/paths.ts";

/**
 * sessions.jsonl of a run: a line for each time that somebody trained at it, with what repeating it
 * needs beside the configuration.
 */
const sessionLine = z.strictObject({
  started: z.string(),
  /** Seconds of training and evaluation, without set-up. */
  seconds: z.number().nonnegative(),
  /** Threads of each worker: the order of sums, and with it the last bits, depends on them. */
  threads: z.int().positive(),
  versions: z.record(z.string(), z.string()),
});
export type Session = z.infer<typeof sessionLine>;

const FILE = "sessions.jsonl";

export async function noteSession(
  folder: string,
  session: Omit<Session, "versions"> & { versions: Record<string, string> },
): Promise<void> {
  const versions = {
    ...session.versions,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    git: gitRevision(),
  };
  await appendFile(join(folder, FILE), `${JSON.stringify({ ...session, versions })}\n`);
}

/** The sessions so far; a line that was cut off by a crash is passed over. */
export async function readSessions(folder: string): Promise<Session[]> {
  const text = await readFile(join(folder, FILE), "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    try {
      return [sessionLine.parse(JSON.parse(line))];
    } catch {
      return [];
    }
  });
}

function gitRevision(): string {
  try {
    const git = (...args: string[]) =>
      execFileSync("git", ["-C", packageRoot, ...args], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }).trim();
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return `${git("rev-parse", "HEAD")}${changed ? " with changes" : ""}`;
  } catch {
    return "unknown";
  }
}
