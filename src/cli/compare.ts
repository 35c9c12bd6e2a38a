import { basename } from "node:path";
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { openRun, seedsFrom } from "../experiment/run-folder.ts";
import { runToEnd } from "../terminal/run-to-end.ts";
import { JOBS } from "./jobs.ts";
import { wholeNumber } from "./whole-number.ts";

interface Options {
  seeds: number;
  name?: string;
  force?: boolean;
  live?: boolean;
  trace?: string;
  jobs?: number;
}

/** `mixhead compare CONFIG CONFIG... [key=value ...]`: arms side by side, one summary. */
export function compare(program: Command): void {
  program
    .command("compare")
    .description("arms side by side, one summary")
    .argument("<config...>", "YAML files, one per arm; then key=value settings for all arms")
    .option("--seeds <n>", "trainings per arm, with seed, seed + 1, ...", wholeNumber(1), 1)
    .option("--name <name>", "the run's name under runs/ (default: the arms' names)")
    .option("--force", "replace a run of this name")
    .option("--live", "serve the live page during training")
    .option("--trace <file>", "write a Chrome trace of both sides (chrome://tracing, ui.perfetto.dev)")
    .option(...JOBS)
    .action(async (words: string[], options: Options) => {
      const files = words.filter((word) => !word.includes("="));
      const overrides = words.filter((word) => word.includes("="));
      if (files.length < 2)
        throw new UserError("compare needs at least two configurations; use train for one");
      const configs = await Promise.all(files.map((file) => loadConfig(file, overrides)));
      const arms = nameArms(files, configs);
      const name = options.name ?? [...arms.keys()].join("-");
      const run = await openRun(name, arms, seedsFrom(configs, options.seeds), options.force);
      await runToEnd(run, { live: options.live, jobs: options.jobs, trace: options.trace });
    });
}

/** Names each arm after its `prototypes`, or after its file if two arms would have the same name. */
function nameArms(files: string[], configs: Config[]): Map<string, Config> {
  const kinds = configs.map((config) => config.prototypes);
  const clash = new Set(kinds).size < kinds.length;
  const arms = new Map<string, Config>();
  configs.forEach((config, index) => {
    const file = basename(files[index] ?? "").replace(/\.ya?ml$/, "");
    const name = clash ? file : config.prototypes;
    if (arms.has(name)) throw new UserError(`two arms are named ${name}: give the files different names`);
    arms.set(name, config);
  });
  return arms;
}
