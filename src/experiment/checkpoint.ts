import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { readSafetensors, writeSafetensors } from "../files/safetensors.ts";
import type { NamedTensors } from "../plugins/plugin.ts";

/** How many checkpoints of an arm are kept. */
const KEPT = 2;

const clockFile = z.strictObject({
  /** Steps taken. */
  step: z.int().nonnegative(),
  /** Seconds of training and evaluation so far. */
  seconds: z.number().nonnegative(),
  /** Length of metrics.jsonl as far as a run that goes on from here keeps it. */
  metricsBytes: z.int().nonnegative(),
});
export type CheckpointClock = z.infer<typeof clockFile>;

export interface Checkpoint {
  /** The folder, with the rank's files in it: encoder, teacher, optimizer, centre. */
  path: string;
  clock: CheckpointClock;
  /** The plugin's and the targets' state; empty where the arm has none. */
  mixture: NamedTensors;
}

/**
 * Completes the folder `incoming` that a rank has filled and moves it into place in one rename: a
 * checkpoint is whole or it is not there. Older ones are dropped.
 */
export async function commitCheckpoint(
  folder: string,
  incoming: string,
  clock: CheckpointClock,
  mixture: NamedTensors,
): Promise<string> {
  await writeSafetensors(join(incoming, "mixture.safetensors"), mixture);
  await writeFile(join(incoming, "clock.json"), `${JSON.stringify(clock)}\n`, { flush: true });
  const path = join(folder, checkpointName(clock.step));
  await rm(path, { recursive: true, force: true });
  await rename(incoming, path);
  await syncFolder(folder);
  for (const old of (await checkpointNames(folder)).slice(0, -KEPT)) {
    await rm(join(folder, old), { recursive: true, force: true });
  }
  return path;
}

/** Removes what an interrupted checkpoint has left. Only for whoever trains there: it may be under way. */
export async function sweepCheckpoints(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(folder)) {
    if (name.startsWith("incoming")) await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** The newest whole checkpoint of an arm, or null. */
export async function latestCheckpoint(folder: string): Promise<Checkpoint | null> {
  await mkdir(folder, { recursive: true });
  const newest = (await checkpointNames(folder)).at(-1);
  if (newest === undefined) return null;
  const path = join(folder, newest);
  const parsed = clockFile.safeParse(await readJson(join(path, "clock.json")));
  if (!parsed.success)
    throw new UserError(
      `${path} is not a checkpoint: its clock.json is damaged; remove the folder to go on from the one before`,
    );
  const { tensors } = await readSafetensors(join(path, "mixture.safetensors"));
  return { path, clock: parsed.data, mixture: tensors };
}

/** The clock of the newest checkpoint; undefined where there is none. */
export async function clockAtCheckpoint(folder: string): Promise<CheckpointClock | undefined> {
  const newest = existsSync(folder) ? (await checkpointNames(folder)).at(-1) : undefined;
  if (newest === undefined) return undefined;
  return clockFile.safeParse(await readJson(join(folder, newest, "clock.json"))).data;
}

function checkpointName(step: number): string {
  return `step-${String(step).padStart(7, "0")}`;
}

/** The names of a training's checkpoints, oldest first: by number, since from step 10,000,000 on names are longer and as text come before shorter ones. */
export async function checkpointNames(folder: string): Promise<string[]> {
  const stepOf = (name: string) => Number(name.slice("step-".length));
  const names = (await readdir(folder)).filter((name) => /^step-\d+$/.test(name));
  return names.sort((a, b) => stepOf(a) - stepOf(b));
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** A rename survives a power cut only once its folder is on disk. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
