import { join } from "node:path";
import { firstDifference } from "../config/difference.ts";
import { isGroup } from "../config/overlay.ts";
import { UserError } from "../errors.ts";
import { readBegun } from "./begun.ts";
import { type Checkpoint, type Found, latestCheckpoint } from "./checkpoint.ts";
import type { Origin } from "./manifest.ts";
import { type Job, type Run, recorded } from "./run-folder.ts";

/** Settings of the place that computes a run. They do not change its record. */
export const WHERE: readonly string[] = ["placement", "backend", "bridge"];
/** Settings of `train` that do not change the steps: where it ends, and what is kept. */
const KEPT: readonly string[] = ["stop", "keepCheckpoints", "diskFull"];

/** The checkpoint that a training resumes from. @throws UserError if there is no intact one, or if its settings differ. */
export async function checkpointOf(run: Run, job: Job): Promise<Found<Checkpoint>> {
  const found = await latestCheckpoint(join(job.folder, "checkpoints"), await originOf(run, job));
  if (found.checkpoint !== null) checkSameRun(run, job, found.checkpoint);
  return found;
}

export async function originOf(run: Run, { arm, seed }: Job): Promise<Origin> {
  return { run: (await readBegun(run.folder))?.id, arm, seed };
}

function checkSameRun(run: Run, job: Job, { path, config }: Checkpoint): void {
  if (config === undefined) return; // earlier versions did not record them
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
