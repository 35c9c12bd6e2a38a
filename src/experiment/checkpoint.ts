import { existsSync } from "node:fs";
import { copyFile, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { RunError, UserError } from "../errors.ts";
import { syncFolder, writeAtomic } from "../files/atomic.ts";
import { fileError } from "../files/errors.ts";
import { readJson } from "../files/json.ts";
import { readSafetensors, writeSafetensors } from "../files/safetensors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { checkManifest, type Origin, writeManifest } from "./manifest.ts";

const CLOCK = "clock.json";
const CONFIG = "config.json";
const METRICS = "metrics.jsonl";
const MIXTURE = "mixture.safetensors";

const clockFile = z.strictObject({
  /** Steps taken. */
  step: z.int().nonnegative(),
  /** Seconds of training and evaluation so far. */
  seconds: z.number().nonnegative(),
  /** The length of metrics.jsonl that a run resumed from here keeps. */
  metricsBytes: z.int().nonnegative(),
});
export type CheckpointClock = z.infer<typeof clockFile>;

export interface Checkpoint {
  /** The folder, with the rank's files in it: encoder, teacher, optimizer, centre. */
  path: string;
  clock: CheckpointClock;
  /** The state of plugin and targets; empty in a joint arm. */
  mixture: NamedTensors;
  /** The settings of the training. Undefined in checkpoints of earlier versions, as is `metrics`. */
  config: unknown;
  /** The file metrics.jsonl as it was. */
  metrics: Buffer | undefined;
}

/**
 * The folder in `folder` that a worker has filled. Only the name of its path is used.
 *
 * @throws RunError "protocol" if that is not the name of such a folder.
 */
export function incomingFolder(folder: string, path = ""): string {
  const name = basename(path);
  if (!/^incoming-\d+$/.test(name)) throw new RunError("protocol", "the worker named no checkpoint");
  return join(folder, name);
}

/** What a checkpoint holds beside the rank's files. */
export interface CheckpointParts {
  clock: CheckpointClock;
  mixture: NamedTensors;
  config: unknown;
  /** The metrics.jsonl that is copied. */
  metrics: string;
  origin: Origin;
}

/** The newest intact checkpoint or null, with notes for the user. */
export interface Found<T> {
  checkpoint: T | null;
  notes: string[];
}

/**
 * Completes the folder `incoming` that a rank has filled and moves it into place in one rename: a
 * checkpoint is whole or absent. The newest `keep` are kept. May be called again after an error.
 *
 * @throws RunError "disk" or UserError if a write fails.
 */
export async function commitCheckpoint(
  folder: string,
  incoming: string,
  { clock, mixture, config, metrics, origin }: CheckpointParts,
  keep: number,
): Promise<string> {
  await writeSafetensors(join(incoming, MIXTURE), mixture);
  await writeAtomic(join(incoming, CLOCK), [`${JSON.stringify(clock)}\n`]);
  await writeAtomic(join(incoming, CONFIG), [`${JSON.stringify(config)}\n`]);
  await copyMetrics(metrics, join(incoming, METRICS));
  await writeManifest(incoming, origin); // its write flushes the folder too
  const path = join(folder, checkpointName(clock.step));
  try {
    await rm(path, { recursive: true, force: true });
    await rename(incoming, path);
    await syncFolder(folder);
  } catch (error) {
    throw fileError("write", path, error);
  }
  await prune(folder, keep);
  return path;
}

async function prune(folder: string, keep: number): Promise<void> {
  for (const old of (await checkpointNames(folder)).slice(0, -keep)) {
    await rm(join(folder, old), { recursive: true, force: true });
  }
}

/**
 * Removes the remains of an interrupted checkpoint, and renames checkpoints after `step`, at which the training resumes,
 * to `aside-NAME`. Keeps the newest `keep` of the others, since a kill may have come before the oldest was removed.
 * Call it only in the process that holds the run's lock.
 */
export async function sweepCheckpoints(folder: string, step: number, keep: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(folder)) {
    if (name.startsWith("incoming")) await rm(join(folder, name), { recursive: true, force: true });
  }
  for (const name of (await checkpointNames(folder)).filter((each) => stepOf(each) > step)) {
    const aside = join(folder, `aside-${name}`);
    await rm(aside, { recursive: true, force: true });
    await rename(join(folder, name), aside);
  }
  await prune(folder, keep);
}

/**
 * The newest intact checkpoint of a training. `notes` say what is wrong with later ones.
 *
 * @throws UserError if there are checkpoints and none is intact.
 */
export async function latestCheckpoint(folder: string, origin: Origin): Promise<Found<Checkpoint>> {
  return newestOf(folder, origin, async (path) => {
    const clock = clockFile.safeParse(await readJson(join(path, CLOCK))).data;
    if (clock === undefined) throw new UserError(`${path} is damaged: its ${CLOCK} is not a clock`);
    const { tensors: mixture } = await readSafetensors(join(path, MIXTURE));
    const config = await readJson(join(path, CONFIG));
    const metrics = await readFile(join(path, METRICS)).catch(() => undefined);
    return { path, clock, mixture, config, metrics };
  });
}

/** The folder of the newest intact checkpoint, for readers of the rank's files. */
export async function latestFolder(folder: string, origin: Origin): Promise<Found<string>> {
  return newestOf(folder, origin, async (path) => path);
}

async function newestOf<T>(
  folder: string,
  origin: Origin,
  read: (path: string) => Promise<T>,
): Promise<Found<T>> {
  const damages: string[] = [];
  const names = existsSync(folder) ? (await checkpointNames(folder)).reverse() : [];
  for (const name of names) {
    const path = join(folder, name);
    try {
      const checked = await checkManifest(path, origin);
      const checkpoint = await read(path);
      const notes = damages.map((damage) => `${damage}; ${name} is used instead`);
      if (!checked)
        notes.push(`${path} has no manifest, as an earlier version left it: it is used unchecked`);
      return { checkpoint, notes };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      damages.push(error.message);
    }
  }
  if (damages.length === 0) return { checkpoint: null, notes: [] };
  throw new UserError(
    `no checkpoint can be used: ${damages.join("; ")}; remove ${folder} to train from the start`,
  );
}

/** The clock of the newest checkpoint; undefined if there is none. */
export async function clockAtCheckpoint(folder: string): Promise<CheckpointClock | undefined> {
  const newest = existsSync(folder) ? (await checkpointNames(folder)).at(-1) : undefined;
  if (newest === undefined) return undefined;
  return clockFile.safeParse(await readJson(join(folder, newest, CLOCK))).data;
}

function checkpointName(step: number): string {
  return `step-${String(step).padStart(7, "0")}`;
}

function stepOf(name: string): number {
  return Number(name.slice("step-".length));
}

/** The names of a training's checkpoints, oldest first. Sorted as numbers: from step 10,000,000 on names have more digits. */
async function checkpointNames(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => /^step-\d+$/.test(name));
  return names.sort((a, b) => stepOf(a) - stepOf(b));
}

async function copyMetrics(from: string, to: string): Promise<void> {
  if (!existsSync(from)) return writeAtomic(to, []);
  try {
    await copyFile(from, to);
    const file = await open(to, "r");
    await file.sync().finally(() => file.close());
  } catch (error) {
    throw fileError("write", to, error);
  }
}
