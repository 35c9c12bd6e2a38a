import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeAtomic } from "../files/atomic.ts";

const FILE = "begun.json";

const begun = z.strictObject({
  /** Identifies the run even if its folder is renamed. Its checkpoints have it too. */
  id: z.string(),
  /** SLURM's id of the job that began it. */
  slurmJob: z.string().optional(),
});
export type Begun = z.infer<typeof begun>;

/** SLURM's id of this process's job, if SLURM has requeued it. */
export function requeuedJob(): string | undefined {
  const { SLURM_JOB_ID: job, SLURM_RESTART_COUNT: restarts = "0" } = process.env;
  return job && Number(restarts) > 0 ? job : undefined;
}

/** Records in the folder of a new run who began it. */
export async function noteBegun(folder: string): Promise<void> {
  const slurmJob = process.env.SLURM_JOB_ID;
  const content: Begun = { id: randomUUID(), ...(slurmJob && { slurmJob }) };
  await writeAtomic(join(folder, FILE), [`${JSON.stringify(content)}\n`]);
}

/** Undefined in a run of an earlier version, and if the record is damaged: only a check depends on it. */
export async function readBegun(folder: string): Promise<Begun | undefined> {
  try {
    return begun.parse(JSON.parse(await readFile(join(folder, FILE), "utf8")));
  } catch {
    return undefined;
  }
}
