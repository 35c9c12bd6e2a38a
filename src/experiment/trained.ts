import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { resolveConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { runsDir } from "../files/paths.ts";
import { latestFolder } from "./checkpoint.ts";
import { checkManifest } from "./manifest.ts";
import { type Job, type Run, readRun } from "./run-folder.ts";
import { originOf } from "./same-run.ts";

/** A trained encoder and its configuration. */
export interface Trained {
  /** What people call it: "demo, decoupled, step 500", or the file's name. */
  label: string;
  /** A checkpoint's folder, or a file of weights. */
  path: string;
  config: Config;
  /** What one should know of it, a sentence each. */
  notes: string[];
}

/** Selects one of several trainings of a run. */
export interface Choice {
  arm?: string | undefined;
  seed?: number | undefined;
}

/**
 * Finds the encoder that a person names: a run (its newest checkpoint), a checkpoint's folder, or a file of weights.
 * For a file, `overrides` say at least `encoder.name`.
 *
 * Of a run with several arms it is `choice.arm`, or the decoupled one; of several seeds the first.
 * Unlike a resume it only reads, so the run may be under way.
 *
 * @throws UserError if there is none, or if the choice is ambiguous.
 */
export async function findTrained(
  of: string,
  overrides: readonly string[],
  choice: Choice = {},
): Promise<Trained> {
  const name = runName(of);
  if (name !== null) {
    const run = await readRun(name);
    const job = chooseJob(run, choice);
    const { checkpoint, notes } = await newestCheckpoint(run, job);
    return trained(name, job, checkpoint, overrides, notes);
  }
  const [chosen] = Object.entries(choice).flatMap(([option, value]) => (value === undefined ? [] : [option]));
  if (chosen !== undefined) throw new UserError(`${of} is no run, of which --${chosen} could choose a part`);
  if (!existsSync(of)) throw new UserError(`${of} is neither a run under runs/ nor a checkpoint nor a file`);
  const owner = statSync(of).isDirectory() ? await ownerOf(resolve(of)) : null;
  if (owner !== null) {
    await checkManifest(of);
    return trained(owner.run.name, owner.job, of, overrides);
  }
  if (!overrides.some((override) => override.startsWith("encoder.name="))) {
    throw new UserError(
      `${of} does not say what its encoder is: add encoder.name=NAME, such as encoder.name=resnet18-32, and data.name if it is not cifar10`,
    );
  }
  return { label: basename(of), path: of, config: resolveConfig({}, overrides), notes: [] };
}

/** The run with this name or path; null if it is something else. */
function runName(of: string): string | null {
  const byPath = resolve(of);
  const folder = dirname(byPath) === runsDir() ? byPath : join(runsDir(), of);
  return dirname(folder) === runsDir() && existsSync(join(folder, "config.yaml")) ? basename(folder) : null;
}

function chooseJob(run: Run, { arm, seed }: Choice): Job {
  const names = [...run.arms.keys()];
  const [only] = names.length === 1 ? names : names.filter((name) => name === "decoupled");
  const chosen = arm ?? only;
  if (chosen === undefined)
    throw new UserError(`${run.name} has the arms ${names.join(", ")}: choose with --arm`);
  if (!run.arms.has(chosen))
    throw new UserError(`${run.name} has no arm ${chosen}; it has ${names.join(", ")}`);
  const job = run.jobs.find((one) => one.arm === chosen && one.seed === (seed ?? run.seeds[0]));
  if (job === undefined)
    throw new UserError(`${run.name} has no seed ${seed}; it has ${run.seeds.join(", ")}`);
  return job;
}

async function newestCheckpoint(run: Run, job: Job) {
  const checkpoints = join(job.folder, "checkpoints");
  const { checkpoint, notes } = await latestFolder(checkpoints, await originOf(run, job));
  if (checkpoint === null) throw new UserError(`${job.label} has no checkpoint yet: ${checkpoints} is empty`);
  return { checkpoint, notes };
}

/** The run that a checkpoint's folder belongs to: RUN/ARM/checkpoints/STEP, or RUN/ARM/seed-N/checkpoints/STEP. */
async function ownerOf(checkpoint: string): Promise<{ run: Run; job: Job } | null> {
  const training = dirname(dirname(checkpoint));
  for (const folder of [dirname(training), dirname(dirname(training))]) {
    if (!existsSync(join(folder, "config.yaml"))) continue;
    const run = await readRun(basename(folder), dirname(folder));
    const job = run.jobs.find((one) => resolve(one.folder) === training);
    if (job !== undefined) return { run, job };
  }
  return null;
}

function trained(
  run: string,
  job: Job,
  path: string,
  overrides: readonly string[],
  notes: string[] = [],
): Trained {
  const step = Number(/^step-(\d+)$/.exec(basename(path))?.[1]);
  return {
    label: [run, job.label, ...(Number.isNaN(step) ? [] : [`step ${step}`])].join(", "),
    path,
    config: resolveConfig(job.config, overrides, `runs/${run}`),
    notes,
  };
}
