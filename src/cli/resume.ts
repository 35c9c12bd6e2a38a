import type { Command } from "commander";
import { goingOn } from "../experiment/going-on.ts";
import { requeuedRun } from "../experiment/requeued.ts";
import { readRun } from "../experiment/run-folder.ts";
import { runToEnd } from "../terminal/run-to-end.ts";
import { JOBS } from "./jobs.ts";
import { type RanksOptions, ranksOptions, readRanks } from "./ranks.ts";

interface Options extends RanksOptions {
  live?: boolean;
  jobs?: number;
}

/** `mixhead resume [RUN] [key=value ...]`: continues from the last checkpoint. */
export function resume(program: Command): void {
  ranksOptions(program.command("resume"))
    .description("continue a run from its last checkpoint")
    .argument("[run]", "a name under runs/ (default in a requeued SLURM job: the run that the job started)")
    .argument("[key=value...]", "settings that may change: train.stop, placement, backend, bridge.*")
    .option("--live", "serve the live page during training")
    .option(...JOBS)
    .action(async (first: string | undefined, rest: string[], { live, jobs, ...options }: Options) => {
      const named = first !== undefined && !first.includes("=");
      const overrides = named || first === undefined ? rest : [first, ...rest];
      const run = named ? await readRun(first) : await requeuedRun();
      const ranks = await readRanks(options);
      await runToEnd(await goingOn(run, overrides), { live, jobs, ...ranks });
    });
}
