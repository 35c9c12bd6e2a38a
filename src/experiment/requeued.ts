import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { runsDir } from "../files/paths.ts";
import { readBegun, requeuedJob } from "./begun.ts";
import { clockAtCheckpoint } from "./checkpoint.ts";
import { lastStep, type Run, readRun } from "./run-folder.ts";

/**
 * The run under runs/ that this SLURM job began before it was requeued: the one that is not complete, or else the only
 * one.
 *
 * @throws UserError if this is no requeued job, if it began no run, or if the choice is ambiguous.
 */
export async function requeuedRun(): Promise<Run> {
  const job = requeuedJob();
  if (job === undefined) {
    throw new UserError(
      "resume takes a run, the name of a folder under runs/; it can do without one only in a requeued SLURM job (SLURM_RESTART_COUNT above 0), and this is none",
    );
  }
  const began: Run[] = [];
  for (const name of existsSync(runsDir()) ? await readdir(runsDir()) : []) {
    const begun = await readBegun(join(runsDir(), name));
    if (begun?.slurmJob === job) began.push(await readRun(name));
  }
  const ended = await Promise.all(began.map(isAtItsEnd));
  const unfinished = began.filter((_, index) => !ended[index]);
  const candidates = unfinished.length > 0 ? unfinished : began;
  const [run, ...others] = candidates;
  if (run === undefined) throw new UserError(`no run under runs/ was begun by SLURM job ${job}: name one`);
  if (others.length > 0) {
    const names = candidates.map(({ name }) => name).join(", ");
    throw new UserError(`SLURM job ${job} began several runs, ${names}: name the one to resume`);
  }
  return run;
}

async function isAtItsEnd({ jobs }: Run): Promise<boolean> {
  const steps = await Promise.all(jobs.map(({ folder }) => clockAtCheckpoint(join(folder, "checkpoints"))));
  return jobs.every((job, index) => (steps[index]?.step ?? 0) >= lastStep(job));
}
