import type { Command } from "commander";
import { readRun } from "../experiment/run-folder.ts";
import { carryOut } from "./carry-out.ts";
import { JOBS } from "./jobs.ts";

/** `mixhead resume RUN`: goes on where the last checkpoint is. */
export function resume(program: Command): void {
  program
    .command("resume")
    .description("go on where the last checkpoint of a run is")
    .argument("<run>", "a name under runs/")
    .option("--live", "serve the live page while it goes")
    .option(...JOBS)
    .action(async (name: string, { live, jobs }: { live?: boolean; jobs?: number }) => {
      await carryOut(await readRun(name), { live, jobs });
    });
}
