import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { readFailures } from "../experiment/failure.ts";
import { checkFree } from "../experiment/lock.ts";
import { type MetricsLine, metricsLine } from "../experiment/metrics-log.ts";
import { type Job, type Run, readRun } from "../experiment/run-folder.ts";
import type { Points, RunState } from "./messages.ts";
import { pointOf, runState } from "./state.ts";
import { Tail } from "./tail.ts";

/** Milliseconds between two looks at the files: at least, and at most if no change is reported. */
const LEAST_MS = 200;
const POLL_MS = 1000;

/** What a look found: the run's state, and the points that are new. */
export interface Change {
  run: RunState;
  points: Points[];
}

interface Followed {
  job: Job;
  tail: Tail;
  lines: MetricsLine[];
  changed: number | null;
  failure: string | null;
  unreadable: number;
  /** Whether a page may still show points that are no more. */
  restarted: boolean;
}

/** Follows the files of a run, whether or not it is being trained, and reports changes. */
export class RunFollower {
  private readonly abort = new AbortController();
  private run: Run;
  private configChanged: number | null = null;
  private trainings: Followed[] = [];
  private watchers: FSWatcher[] = [];
  private wake: () => void = () => {};
  private began: number | null = null;
  private last = "";

  private constructor(
    run: Run,
    private readonly onChange: (change: Change) => void,
  ) {
    this.run = run;
  }

  /**
   * @param folder runs/NAME
   * @throws UserError if it is not a run
   */
  static async open(folder: string, onChange: (change: Change) => void): Promise<RunFollower> {
    const follower = new RunFollower(await readRun(basename(folder), dirname(folder)), onChange);
    await follower.look();
    void follower.follow();
    return follower;
  }

  /** All there is, for a page that has just come. */
  everything(): Change {
    return {
      run: this.state(),
      points: this.trainings.map(({ lines }, training) => ({
        training,
        from: 0,
        points: lines.map(pointOf),
      })),
    };
  }

  close(): void {
    this.abort.abort();
    this.wake();
    for (const watcher of this.watchers) watcher.close();
  }

  private async follow(): Promise<void> {
    while (!this.abort.signal.aborted) {
      await pause(LEAST_MS);
      await Promise.race([pause(POLL_MS - LEAST_MS), new Promise<void>((resolve) => (this.wake = resolve))]);
      if (!this.abort.signal.aborted) await this.look();
    }
  }

  private async look(): Promise<void> {
    await this.rereadRun();
    this.began = await sessionBegan(this.run.folder);
    const failures = await readFailures(this.run);
    const points: Points[] = [];
    for (const [training, followed] of this.trainings.entries()) {
      const { arm, seed } = followed.job;
      followed.failure = failures.find((one) => one.arm === arm && one.seed === seed)?.error ?? null;
      const from = await readOn(followed);
      const fresh = followed.lines.slice(from);
      if (fresh.length > 0 || followed.restarted) points.push({ training, from, points: fresh.map(pointOf) });
      followed.restarted = false;
    }
    const run = this.state();
    const seen = JSON.stringify(run);
    if (seen === this.last && points.length === 0) return;
    this.last = seen;
    this.onChange({ run, points });
  }

  /** A run that was replaced under the same name has another configuration, and maybe other arms. */
  private async rereadRun(): Promise<void> {
    const changed = await changedAt(join(this.run.folder, "config.yaml"));
    if (changed === this.configChanged || changed === null) return;
    try {
      this.run = await readRun(this.run.name, dirname(this.run.folder));
    } catch {
      return; // It is being written: the next look reads it.
    }
    this.configChanged = changed;
    this.trainings = this.run.jobs.map((job) => ({
      job,
      tail: new Tail(join(job.folder, "metrics.jsonl")),
      lines: [],
      changed: null,
      failure: null,
      unreadable: 0,
      restarted: true,
    }));
    for (const watcher of this.watchers) watcher.close();
    this.watchers = [this.run.folder, ...this.run.jobs.map(({ folder }) => folder)].flatMap((folder) =>
      this.watchFolder(folder),
    );
  }

  /** Watching only makes looks come sooner. If it fails, polling continues. */
  private watchFolder(folder: string): FSWatcher[] {
    try {
      return [watch(folder, () => this.wake()).on("error", () => {})];
    } catch {
      return [];
    }
  }

  private state(): RunState {
    return runState(this.run, this.trainings, {
      began: this.began,
      unreadable: this.trainings.reduce((sum, { unreadable }) => sum + unreadable, 0),
    });
  }
}

/** Reads the new lines of a training. Returns the index of the first. */
async function readOn(followed: Followed): Promise<number> {
  const { restarted, lines } = await followed.tail.look();
  if (restarted) {
    followed.lines = [];
    followed.unreadable = 0;
    followed.restarted = true;
  }
  const from = followed.lines.length;
  for (const text of lines) {
    const line = parseLine(text);
    if (line === null) followed.unreadable++;
    else followed.lines.push(line);
  }
  followed.changed = await changedAt(followed.tail.path);
  return from;
}

function parseLine(text: string): MetricsLine | null {
  try {
    return metricsLine.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** The start of the current session, in ms since 1970; null if nobody trains the run. */
async function sessionBegan(folder: string): Promise<number | null> {
  const free = await checkFree(folder).then(
    () => true,
    () => false,
  );
  return free ? null : changedAt(join(folder, "lock"));
}

async function changedAt(path: string): Promise<number | null> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => null,
  );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
