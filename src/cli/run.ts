import { resolve } from "node:path";
import type { Command } from "commander";
import { setInvocation } from "../api/invocation.ts";
import { allEnded } from "../api/queue.ts";
import { RunError, sentence, UserError } from "../errors.ts";
import { importFile } from "../files/import-file.ts";
import { JOBS } from "./jobs.ts";

interface Options {
  name?: string;
  force?: boolean;
  live?: boolean;
  jobs?: number;
}

/** `mixhead run FILE.ts [key=value ...]`: an experiment in TypeScript. */
export function run(program: Command): void {
  program
    .command("run")
    .description("an experiment in TypeScript")
    .argument("<file>", "a .ts file that calls experiment, compare, sweep or openSession of mixhead")
    .argument("[key=value...]", "settings for all arms, such as train.stop=100")
    .option(
      "--name <name>",
      "the run's name under runs/ (default: the one that the file sets, or the file's name)",
    )
    .option("--force", "replace runs of the same names")
    .option("--live", "serve the live page during training")
    .option(...JOBS)
    .action(
      async (file: string, overrides: string[], { name, force = false, live = false, jobs }: Options) => {
        setInvocation({ file, overrides, name, force, live, jobs });
        process.setSourceMapsEnabled(true); // errors then show line numbers of the TypeScript file
        const forgotten = new Promise<never>((_, reject) => process.once("unhandledRejection", reject));
        try {
          await Promise.race([importFile(file).then(allEnded), forgotten]);
        } catch (error) {
          throw reasonOf(error, file);
        }
      },
    );
}

/** The cause of a failed import: the error of a run, or of the file's own code with its line. */
function reasonOf(error: unknown, file: string): unknown {
  const cause = error instanceof UserError && error.cause !== undefined ? error.cause : error;
  if (cause instanceof UserError || cause instanceof RunError) return cause;
  const line = lineOf(cause, file);
  if (line === undefined) return error;
  return new UserError(`${file}, line ${line}: ${sentence(cause)}`, { cause });
}

/** The line of the file in the error's stack. */
function lineOf(error: unknown, file: string): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const after = error.stack?.split(`${resolve(file)}:`)[1];
  return /^\d+/.exec(after ?? "")?.[0];
}
