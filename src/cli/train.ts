import { basename } from "node:path";
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { openRun } from "../experiment/run-folder.ts";
import { carryOut } from "./carry-out.ts";

/** `mixhead train CONFIG [key=value ...]`: one run of one arm. */
export function train(program: Command): void {
  program
    .command("train")
    .description("one run")
    .argument("<config>", "a YAML file")
    .argument("[key=value...]", "settings over it, such as train.lr=0.001")
    .option("--name <name>", "the run's name under runs/ (default: the file's name)")
    .option("--force", "replace a run of this name")
    .action(async (file: string, overrides: string[], options: { name?: string; force?: boolean }) => {
      const config = await loadConfig(file, overrides);
      const name = options.name ?? basename(file).replace(/\.ya?ml$/, "");
      await carryOut(
        await openRun(name, new Map([[config.prototypes, config]]), [config.seed], options.force),
      );
    });
}
