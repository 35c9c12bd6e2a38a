import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeAtomic } from "../files/atomic.ts";

const FILE = "begun.json";

const begun = z.strictObject({
  /** Of this run alone, whatever its folder is called: its checkpoints have it too. */
  id: z.string(),
  /** SLURM's id of the job that began it. */
  slurmJob: z.string().optional(),
});
export type Begun = z.infer<typeof begun>;

/** SLURM's id of the job that this process belongs to, where SLURM has requeued it. */
export function requeuedJob(): string | undefined {
  const { SLURM_JOB_ID: job, SLURM_RESTART_COUNT: restarts = "0" } = process.env;
  return job && Number(restarts) > 0 ? job : undefined;
}

/** Notes in the folder of a new run who began it. */
export async function noteBegun(folder: string): Promise<void> {
  const slurmJob = process.env.SLURM_JOB_ID;
  const content: Begun = { id: randomUUID(), ...(slurmJob && { slurmJob }) };
  await writeAtomic(join(folder, FILE), [`${JSON.stringify(content)}\n`]);
}

/** Undefined in a run of an earlier version, or where the note is damaged: nothing but a check depends on it. */
export async function readBegun(folder: string): Promise<Begun | undefined> {
  try {
    return begun.parse(JSON.parse(await readFile(join(folder, FILE), "utf8")));
  } catch {
    return undefined;
  }
}
