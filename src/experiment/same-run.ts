import { join } from "node:path";
import { firstDifference } from "../config/difference.ts";
import { isGroup } from "../config/overlay.ts";
import { UserError } from "../errors.ts";
import { readBegun } from "./begun.ts";
import { type Checkpoint, type Found, latestCheckpoint } from "./checkpoint.ts";
import type { Origin } from "./manifest.ts";
import { type Job, type Run, recorded } from "./run-folder.ts";

/** Settings that say where a run is computed, and not what: its record stays as it is. */
export const WHERE: readonly string[] = ["placement", "backend", "bridge"];
/** Settings of `train` that say where it ends and what is kept of it: the steps up to there are the same. */
const KEPT: readonly string[] = ["stop", "keepCheckpoints", "diskFull"];

/** Where a training goes on. @throws UserError where it cannot, or its settings are no longer those that it was trained with. */
export async function checkpointOf(run: Run, job: Job): Promise<Found<Checkpoint>> {
  const found = await latestCheckpoint(join(job.folder, "checkpoints"), await originOf(run, job));
  if (found.checkpoint !== null) checkSameRun(run, job, found.checkpoint);
  return found;
}

export async function originOf(run: Run, { arm, seed }: Job): Promise<Origin> {
  return { run: (await readBegun(run.folder))?.id, arm, seed };
}

function checkSameRun(run: Run, job: Job, { path, config }: Checkpoint): void {
  if (config === undefined) return; // an earlier version's, which did not note them
  const then = recorded(config, `${path}/config.json`);
  const difference = firstDifference("", whatIsTrained(then), whatIsTrained(job.config));
  if (difference === null) return;
  const { path: key, there, here } = difference;
  throw new UserError(
    `${job.label} of runs/${run.name} was trained with ${key} ${JSON.stringify(there)}, and its configuration now says ${JSON.stringify(here)}: set it back, or train another run`,
  );
}

function whatIsTrained(config: object): object {
  const all = Object.entries(config).filter(([key]) => !WHERE.includes(key));
  return Object.fromEntries(all.map(([key, value]) => [key, key === "train" ? withoutKept(value) : value]));
}

function withoutKept(train: unknown): unknown {
  if (!isGroup(train)) return train;
  return Object.fromEntries(Object.entries(train).filter(([key]) => !KEPT.includes(key)));
}
