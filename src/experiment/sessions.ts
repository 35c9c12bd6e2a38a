import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync } from "node:fs";
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { fileError } from "../files/errors.ts";
import { parseJson } from "../files/json.ts";
import { packageRoot } from "../files/paths.ts";

/**
 * sessions.jsonl of a run has a line for each start or resume, and lines with the seconds so far. The first kind has
 * what a repetition needs beside the configuration. Lines are only appended, so that a killed process loses nothing.
 */
const beginning = z.strictObject({
  started: z.string(),
  /** Threads of each worker. The order of sums, and so the last bits, depends on them. */
  threads: z.int().positive(),
  versions: z.record(z.string(), z.string()),
});
const soFar = z.strictObject({ started: z.string(), seconds: z.number().nonnegative() });

export type TrainingSession = z.infer<typeof beginning> & {
  /** Of training and evaluation, without set-up. */
  seconds: number;
};

const FILE = "sessions.jsonl";

/** The session under way; its clock runs from the first call of `tick`. */
export class SessionLog {
  private from: number | undefined;
  private gap = "";
  private constructor(
    private readonly path: string,
    private readonly started: string,
  ) {}

  static async begin(
    folder: string,
    { threads, versions }: { threads: number; versions: Record<string, string> },
  ): Promise<SessionLog> {
    const path = join(folder, FILE);
    const started = new Date().toISOString();
    const all = {
      ...versions,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      git: gitRevision(),
    };
    const earlier = await readFile(path, "utf8").catch(() => "");
    const gap = earlier === "" || earlier.endsWith("\n") ? "" : "\n"; // a crash has cut the last line off
    try {
      await appendFile(path, `${gap}${JSON.stringify({ started, threads, versions: all })}\n`);
    } catch (error) {
      throw fileError("write", path, error);
    }
    return new SessionLog(path, started);
  }

  /** Records the session's seconds so far. A failed write is ignored: the next one includes its seconds. */
  tick(): void {
    this.from ??= performance.now();
    const seconds = (performance.now() - this.from) / 1000;
    try {
      appendFileSync(this.path, `${this.gap}${JSON.stringify({ started: this.started, seconds })}\n`);
      this.gap = "";
    } catch {
      this.gap = "\n"; // a part of the line may be there
    }
  }
}

/** The sessions so far. A line that a crash has cut off is skipped. */
export async function readSessions(folder: string): Promise<TrainingSession[]> {
  const text = await readFile(join(folder, FILE), "utf8").catch(() => "");
  const sessions = new Map<string, TrainingSession>();
  for (const line of text.split("\n")) {
    const value = parseJson(line);
    const begun = beginning.safeParse(value).data;
    if (begun !== undefined) sessions.set(begun.started, { ...begun, seconds: 0 });
    const ticked = soFar.safeParse(value).data;
    const session = sessions.get(ticked?.started ?? "");
    if (session !== undefined && ticked !== undefined) session.seconds = ticked.seconds;
  }
  return [...sessions.values()];
}

function gitRevision(): string {
  // If mixhead is installed as a dependency, git would find the user's own repository.
  if (!existsSync(join(packageRoot, ".git"))) return "unknown";
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
