import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync } from "node:fs";
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { fileError } from "../files/errors.ts";
import { parseJson } from "../files/json.ts";
import { packageRoot } from "../files/paths.ts";

/**
 * sessions.jsonl of a run: a line for each time that somebody began to train at it, with what
 * repeating it needs beside the configuration, and lines with the seconds that it has taken so far.
 * It is only appended to, so that a process that is killed loses nothing of it.
 */
const beginning = z.strictObject({
  started: z.string(),
  /** Threads of each worker: the order of sums, and with it the last bits, depends on them. */
  threads: z.int().positive(),
  versions: z.record(z.string(), z.string()),
});
const soFar = z.strictObject({ started: z.string(), seconds: z.number().nonnegative() });

export type Session = z.infer<typeof beginning> & {
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

  /** Notes how long the session has lasted; on a full disk not: the next note holds this one's seconds too. */
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

/** The sessions so far; a line that was cut off by a crash is passed over. */
export async function readSessions(folder: string): Promise<Session[]> {
  const text = await readFile(join(folder, FILE), "utf8").catch(() => "");
  const sessions = new Map<string, Session>();
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
  // Installed in a project of somebody's, it would be that project's.
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
