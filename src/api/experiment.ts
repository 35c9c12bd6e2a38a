import type { MetricsHook } from "../experiment/hooks.ts";
import { openRun, type Run, seedsFrom } from "../experiment/run-folder.ts";
import type { PluginFactory, Values } from "../plugins/registry.ts";
import { runToEnd } from "../terminal/run-to-end.ts";
import { type ResolvedArm, resolveArm, resolveArms } from "./arms.ts";
import { invocation, runName } from "./invocation.ts";
import { inTurn } from "./queue.ts";
import { type ExperimentResult, resultOf } from "./result.ts";
import {
  describeSettings,
  factoryName,
  named,
  type SettingName,
  type Settings,
  type SettingValue,
} from "./settings.ts";
import { variations } from "./vary.ts";

export interface ExperimentOptions {
  /** The run's name under runs/; by default that of the experiment file. */
  name?: string;
  /** Trainings per arm, with seed, seed + 1, ...; default 1. */
  seeds?: number;
  /** Replaces a run of this name. Without it, a run with the same configuration is resumed, or shown if it is complete. */
  force?: boolean;
  /** When it aborts, the run ends at a checkpoint, as after Ctrl-C. */
  signal?: AbortSignal;
  /** Shows no progress and prints no table. */
  quiet?: boolean;
  /** Called with every line of every training's metrics.jsonl as it is written, for any logger. */
  log?: MetricsHook;
}

/** Trains one arm, named by its `prototypes`, and measures it. Throws the same errors as `compare`. */
export function experiment(settings: Settings, options: ExperimentOptions = {}): Promise<ExperimentResult> {
  return inTurn(() => {
    const [, config, values] = resolveArm(describeSettings({}), "experiment", settings);
    return train([[config.prototypes, config, values]], options);
  });
}

/**
 * Trains arms side by side over the same seeds, and compares them with the first one. The settings of an
 * arm take precedence over those of `base`. A training that fails does not stop the others: `failures`
 * lists it, and the process's exit status is 1.
 *
 * @throws UserError for settings that are not allowed, before anything is trained
 * @throws RunError "interrupted" after Ctrl-C or an abort; the first failure if every training failed
 */
export function compare<Arm extends string>(
  arms: Record<Arm, Settings>,
  { base = {}, ...options }: ExperimentOptions & { base?: Settings } = {},
): Promise<ExperimentResult<Arm>> {
  return inTurn(() => train(resolveArms(base, Object.entries(arms)), options));
}

/** The values of settings to vary, by the setting's name. Every combination is an arm. */
export type Vary = { [Name in SettingName]?: readonly SettingValue<Name>[] };

/**
 * Trains and compares, as `compare` does, an arm for every combination of the values in `vary`, over the
 * settings of `base`. Arms have names such as "components=256 retention=0.9".
 */
export function sweep(
  { base = {}, vary }: { base?: Settings; vary: Vary },
  options: ExperimentOptions = {},
): Promise<ExperimentResult> {
  return inTurn(() => {
    const arms = variations(vary).map(({ name, settings }) => [name, settings] as const);
    return train(resolveArms(base, arms), options);
  });
}

/** Opens the run for these arms, an existing one if there is one. */
export function openArms(
  arms: readonly ResolvedArm[],
  { name, seeds = 1, force = false }: ExperimentOptions,
): Promise<Run> {
  checkNames(arms.map(([, , values]) => values));
  return openRun(
    runName(name),
    new Map(arms.map(([arm, config]) => [arm, config])),
    seedsFrom(
      arms.map(([, config]) => config),
      seeds,
    ),
    force || invocation().force,
    new Map(arms.map(([arm, , values]) => [arm, values])),
  );
}

async function train(arms: readonly ResolvedArm[], options: ExperimentOptions): Promise<ExperimentResult> {
  const run = await openArms(arms, options);
  const { signal, quiet, log } = options;
  const { live, jobs } = invocation();
  return resultOf(run, await runToEnd(run, { signal, quiet, live, jobs, hooks: log && [log] }));
}

/** Checks that all functions have different names: arms with equal records would be the same arm. */
function checkNames(all: readonly Values[]): void {
  const schedules = new Map();
  const factories = new Map<string, PluginFactory>();
  for (const { schedules: own, factory } of all) {
    for (const [name, schedule] of own) named(schedules, name, schedule);
    if (factory) named(factories, factoryName(factory), factory);
  }
}
