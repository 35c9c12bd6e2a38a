import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { differenceAt } from "../config/difference.ts";
import { configYaml, parseYaml, resolveConfig } from "../config/load.ts";
import { methodProblem } from "../config/methods.ts";
import { overlay } from "../config/overlay.ts";
import type { Config } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { runsDir } from "../files/paths.ts";
import { type Values, withOptions } from "../plugins/registry.ts";
import { parseSchedule } from "../schedules/schedule.ts";
import { noteBegun, readBegun, requeuedJob } from "./begun.ts";
import { checkFree } from "./lock.ts";
import { readMetrics } from "./metrics-log.ts";
import { trainingScalars } from "./training-clock.ts";
import { missingValues } from "./values.ts";

/** One training: an arm with one seed. */
export interface Job {
  arm: string;
  seed: number;
  /** Its name in messages: the arm, with the seed if there are several. */
  label: string;
  config: Config;
  /** The functions that the configuration refers to by name. */
  values?: Values;
  /** Holds its metrics and checkpoints. */
  folder: string;
}

/** The steps that a training takes. */
export function lastStep({ config }: Pick<Job, "config">): number {
  return config.train.stop ?? config.train.steps;
}

/** A run: arms side by side over the same seeds, in `runs/NAME/`. */
export interface Run {
  name: string;
  folder: string;
  seeds: number[];
  arms: Map<string, Config>;
  jobs: Job[];
}

const runFile = z.strictObject({
  seeds: z.array(z.int().nonnegative()).min(1),
  arms: z.record(z.string(), z.unknown()),
});

const nameRule = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
/** An arm is a folder too; a sweep calls it by its settings, "components=256 retention=0.9". */
const armRule = /^[A-Za-z0-9][A-Za-z0-9._=+, -]*$/;

/**
 * Opens `runs/NAME` for these arms: a new folder, or the present one if it has the same configuration. A folder in
 * which nothing has been measured yet is replaced. `asked`: the configurations by arm; `values`: the functions that
 * they refer to by name.
 *
 * @throws UserError if an arm cannot be trained, or if the folder has another configuration and `force` is not given.
 */
export async function openRun(
  name: string,
  asked: ReadonlyMap<string, Config>,
  seeds: number[],
  force = false,
  values: ReadonlyMap<string, Values> = new Map(),
): Promise<Run> {
  checkName(name);
  const arms = new Map<string, Config>();
  for (const [arm, config] of asked) arms.set(arm, await checkArm(arm, config, values.get(arm)));
  const folder = join(runsDir(), name);
  if (force && !(await isThisJobs(folder))) await replaceRun(folder);
  const run = describeRun(name, folder, arms, seeds, values);
  if (existsSync(folder)) {
    const old = await readRun(name);
    const difference = firstDifference(old, run);
    if (difference === null) return run;
    if (await hasMeasurements(old)) {
      throw new UserError(
        `runs/${name} exists with another configuration (${difference}): give another --name, or --force to replace it`,
      );
    }
    await replaceRun(folder);
  }
  for (const job of run.jobs) await mkdir(join(job.folder, "checkpoints"), { recursive: true });
  await noteBegun(folder);
  await writeRecord(run);
  return run;
}

/** Writes what `readRun` reads. */
export async function writeRecord({ folder, seeds, arms }: Run): Promise<void> {
  const settings = { seeds, arms: Object.fromEntries(arms) };
  await writeAtomic(join(folder, "config.yaml"), [configYaml(settings)]);
}

/** The default of a record without `plugin.use`: earlier versions did not bring components into use. */
const BEFORE = { plugin: { use: { share: 0 } } };

/** Reads `runs/NAME` back; `parent` is the folder of runs/. @throws UserError if it is not a run. */
export async function readRun(name: string, parent = runsDir()): Promise<Run> {
  checkName(name);
  const folder = join(parent, name);
  const file = join(folder, "config.yaml");
  if (!existsSync(file)) throw new UserError(`runs/${name} is not a run: it has no config.yaml`);
  const parsed = runFile.safeParse(parseYaml(await readFile(file, "utf8"), file));
  if (!parsed.success) throw new UserError(`${file}: not a run's configuration`);
  for (const arm of Object.keys(parsed.data.arms)) checkArmName(arm, `${file}: `);
  const arms = Object.entries(parsed.data.arms).map(
    ([arm, settings]) => [arm, recorded(settings, `${file}: arms.${arm}`)] as const,
  );
  return describeRun(name, folder, new Map(arms), parsed.data.seeds);
}

/** Parses a configuration recorded by any version; `source` names it. @throws UserError if it is invalid. */
export function recorded(settings: unknown, source: string): Config {
  return resolveConfig(overlay(BEFORE, settings), [], source);
}

/** The seeds of a run: that of all arms, and the following ones. @throws UserError if the arms' seeds differ. */
export function seedsFrom(configs: readonly Config[], count: number): number[] {
  const [first, ...others] = configs.map((config) => config.seed);
  if (first === undefined || others.some((seed) => seed !== first)) {
    throw new UserError(
      "the arms have different seeds, so they cannot be compared: add seed=0, which holds for every arm",
    );
  }
  return Array.from({ length: count }, (_, index) => first + index);
}

/** The same run with every arm's configuration changed. */
export function withConfigs({ name, folder, seeds, arms }: Run, change: (config: Config) => Config): Run {
  const changed = Array.from(arms, ([arm, config]) => [arm, change(config)] as const);
  return describeRun(name, folder, new Map(changed), seeds);
}

function describeRun(
  name: string,
  folder: string,
  arms: ReadonlyMap<string, Config>,
  seeds: number[],
  values: ReadonlyMap<string, Values> = new Map(),
): Run {
  const jobs = seeds.flatMap((seed) =>
    [...arms].map(([arm, config]): Job => {
      const own = values.get(arm);
      return {
        arm,
        seed,
        label: seeds.length === 1 ? arm : `${arm} (seed ${seed})`,
        config: { ...config, seed },
        ...(own && { values: own }),
        folder: seeds.length === 1 ? join(folder, arm) : join(folder, arm, `seed-${seed}`),
      };
    }),
  );
  return { name, folder, seeds, arms: new Map(arms), jobs };
}

function checkName(name: string): void {
  if (!nameRule.test(name)) {
    throw new UserError(
      `"${name}" cannot name a run; allowed: letters, digits, dots, dashes and underscores`,
    );
  }
}

/** @throws UserError if the name could lead out of the run's folder. */
function checkArmName(arm: string, source = ""): void {
  if (armRule.test(arm) && arm.length <= 100) return;
  throw new UserError(
    `${source}${JSON.stringify(arm)} cannot name an arm; allowed: letters, digits, spaces and . _ = + , -, at most 100 in all`,
  );
}

/** The configuration with all of the plugin's own options. @throws UserError if it cannot be trained. */
async function checkArm(arm: string, config: Config, values: Values | undefined): Promise<Config> {
  checkArmName(arm);
  const problem = methodProblem(config);
  if (problem !== null) throw new UserError(`${arm}: ${problem}`);
  const [missing] = missingValues(config, values);
  if (missing !== undefined) {
    throw new UserError(`${arm}: ${missing} is a function, which only an experiment file can give`);
  }
  try {
    const { annealing, prior, use } = config.plugin;
    for (const schedule of [annealing, prior.strength, use.share]) {
      if (schedule !== "auto") parseSchedule(schedule, values?.schedules);
    }
    trainingScalars(config, values?.schedules);
    return config.prototypes === "decoupled"
      ? { ...config, plugin: await withOptions(config.plugin) }
      : config;
  } catch (error) {
    throw error instanceof UserError ? new UserError(`${arm}: ${error.message}`, { cause: error }) : error;
  }
}

async function hasMeasurements({ jobs }: Run): Promise<boolean> {
  const lines = await Promise.all(jobs.map(({ folder }) => readMetrics(join(folder, "metrics.jsonl"))));
  return lines.flat().length > 0;
}

/**
 * Moves a run aside to runs/.replaced/NAME, since its replacement may fail. Refuses a folder that is no run, and one that
 * is being trained.
 */
async function replaceRun(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  await checkFree(folder);
  if (!existsSync(join(folder, "config.yaml"))) {
    throw new UserError(`${folder} is not a run (it has no config.yaml), so --force does not replace it`);
  }
  const aside = join(dirname(folder), ".replaced", basename(folder));
  await rm(aside, { recursive: true, force: true });
  await mkdir(dirname(aside), { recursive: true });
  await rename(folder, aside);
}

/** Whether this SLURM job was requeued after it began the run: its script's --force has already had its effect. */
async function isThisJobs(folder: string): Promise<boolean> {
  const job = requeuedJob();
  return job !== undefined && (await readBegun(folder))?.slurmJob === job;
}

function firstDifference(old: Run, next: Run): string | null {
  if (!isDeepStrictEqual(old.seeds, next.seeds)) return `seeds ${old.seeds} there, ${next.seeds} here`;
  return differenceAt("arms", Object.fromEntries(old.arms), Object.fromEntries(next.arms));
}
