import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeAtomic } from "../files/atomic.ts";
import { fileError } from "../files/errors.ts";
import type { Failure } from "../report/summary.ts";
import type { Job, Run } from "./run-folder.ts";

const failureFile = z.strictObject({ error: z.string() });
const FILE = "failure.json";

export type { Failure };

/** Leaves in a training's folder why it failed: the summary and the pages read it there. */
export async function noteFailure(job: Job, error: string): Promise<void> {
  await writeAtomic(join(job.folder, FILE), [`${JSON.stringify({ error })}\n`]);
}

/** Before a training is tried again. */
export async function forgetFailure(job: Job): Promise<void> {
  const path = join(job.folder, FILE);
  await rm(path, { force: true }).catch((error) => {
    throw fileError("write", path, error);
  });
}

/** The trainings of a run that failed when they were last tried. */
export async function readFailures(run: Run): Promise<Failure[]> {
  const found = await Promise.all(run.jobs.map(readFailure));
  return found.filter((failure) => failure !== null);
}

async function readFailure({ arm, seed, folder }: Job): Promise<Failure | null> {
  const text = await readFile(join(folder, FILE), "utf8").catch(() => null);
  if (text === null) return null;
  try {
    return { arm, seed, ...failureFile.parse(JSON.parse(text)) };
  } catch {
    return { arm, seed, error: `${join(folder, FILE)} is damaged` };
  }
}
