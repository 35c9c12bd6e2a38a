import { basename } from "node:path";
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { openRun } from "../experiment/run-folder.ts";
import { runToEnd } from "../terminal/run-to-end.ts";
import { type RanksOptions, ranksOptions, readRanks } from "./ranks.ts";

interface Options extends RanksOptions {
  name?: string;
  force?: boolean;
  live?: boolean;
  trace?: string;
}

/** `mixhead train CONFIG [key=value ...]`: one run of one arm. */
export function train(program: Command): void {
  ranksOptions(program.command("train"))
    .description("one run")
    .argument("<config>", "a YAML file")
    .argument("[key=value...]", "settings that override the file's, such as train.lr=0.001")
    .option("--name <name>", "the run's name under runs/ (default: the file's name)")
    .option("--force", "replace a run of this name")
    .option("--live", "serve the live page during training")
    .option("--trace <file>", "write a Chrome trace of both sides (chrome://tracing, ui.perfetto.dev)")
    .action(async (file: string, overrides: string[], options: Options) => {
      const config = await loadConfig(file, overrides);
      const ranks = await readRanks(options);
      const name = options.name ?? basename(file).replace(/\.ya?ml$/, "");
      const run = await openRun(name, new Map([[config.prototypes, config]]), [config.seed], options.force);
      await runToEnd(run, { live: options.live, trace: options.trace, ...ranks });
    });
}
