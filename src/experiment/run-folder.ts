import { existsSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { configYaml, parseYaml, resolveConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { runsDir } from "../setup/paths.ts";

/** One training: an arm with one seed. */
export interface Job {
  arm: string;
  seed: number;
  /** What people call it: the arm, with the seed where there are several. */
  label: string;
  config: Config;
  /** Where its metrics and checkpoints are. */
  folder: string;
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

/**
 * Opens `runs/NAME` for these arms: a new folder, or the one that is there where it has the same configuration.
 *
 * @throws UserError where the folder belongs to another configuration and `force` is not given.
 */
export async function openRun(
  name: string,
  arms: ReadonlyMap<string, Config>,
  seeds: number[],
  force = false,
): Promise<Run> {
  checkName(name);
  const folder = join(runsDir(), name);
  if (force) await removeRun(folder);
  const run = describeRun(name, folder, arms, seeds);
  if (existsSync(folder)) {
    const difference = firstDifference(await readRun(name), run);
    if (difference !== null) {
      throw new UserError(
        `runs/${name} exists with another configuration (${difference}): give another --name, or --force to replace it`,
      );
    }
    return run;
  }
  for (const job of run.jobs) await mkdir(join(job.folder, "checkpoints"), { recursive: true });
  const settings = { seeds, arms: Object.fromEntries(arms) };
  await writeAtomic(join(folder, "config.yaml"), [configYaml(settings)]);
  return run;
}

/** Reads `runs/NAME` back. @throws UserError where it is no run. */
export async function readRun(name: string): Promise<Run> {
  checkName(name);
  const folder = join(runsDir(), name);
  const file = join(folder, "config.yaml");
  if (!existsSync(file)) throw new UserError(`runs/${name} is not a run: it has no config.yaml`);
  const parsed = runFile.safeParse(parseYaml(await readFile(file, "utf8"), file));
  if (!parsed.success) throw new UserError(`${file}: not a run's configuration`);
  const arms = Object.entries(parsed.data.arms).map(
    ([arm, settings]) => [arm, resolveConfig(settings, [], `${file}: arms.${arm}`)] as const,
  );
  return describeRun(name, folder, new Map(arms), parsed.data.seeds);
}

function describeRun(name: string, folder: string, arms: ReadonlyMap<string, Config>, seeds: number[]): Run {
  const jobs = seeds.flatMap((seed) =>
    [...arms].map(([arm, config]) => ({
      arm,
      seed,
      label: seeds.length === 1 ? arm : `${arm} (seed ${seed})`,
      config: { ...config, seed },
      folder: seeds.length === 1 ? join(folder, arm) : join(folder, arm, `seed-${seed}`),
    })),
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

/** Only a folder that is a run is removed. */
async function removeRun(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  if (!existsSync(join(folder, "config.yaml"))) {
    throw new UserError(`${folder} is not a run (it has no config.yaml), so --force does not remove it`);
  }
  await rm(folder, { recursive: true });
}

function firstDifference(old: Run, next: Run): string | null {
  if (!isDeepStrictEqual(old.seeds, next.seeds)) return `seeds ${old.seeds} there, ${next.seeds} here`;
  return differenceAt("arms", Object.fromEntries(old.arms), Object.fromEntries(next.arms));
}

function differenceAt(path: string, old: unknown, next: unknown): string | null {
  if (isDeepStrictEqual(old, next)) return null;
  const a = asGroup(old);
  const b = asGroup(next);
  if (a === null || b === null)
    return `${path} is ${JSON.stringify(old)} there, ${JSON.stringify(next)} here`;
  for (const key of new Set([...a.keys(), ...b.keys()])) {
    const found = differenceAt(`${path}.${key}`, a.get(key), b.get(key));
    if (found !== null) return found;
  }
  return null;
}

function asGroup(value: unknown): Map<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? new Map(Object.entries(value))
    : null;
}
