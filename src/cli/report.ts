import { relative } from "node:path";
import type { Command } from "commander";
import { openBackend } from "../backend/backend.ts";
import { UserError } from "../errors.ts";
import { readRun } from "../experiment/run-folder.ts";
import { reportData, writeReport } from "../experiment/run-report.ts";
import { summarise, writeSummary } from "../experiment/summary.ts";
import { writeAtomic } from "../files/atomic.ts";
import { heroPicture } from "../report/hero.ts";
import { toPng } from "../report/picture.ts";

/** `mixhead report RUN...`: draws the page of runs again from what they left. */
export function report(program: Command): void {
  program
    .command("report")
    .description("draw the page of runs again")
    .argument("<run...>", "names under runs/")
    .option(
      "--picture <file>",
      "also one picture of the first run: k-NN and uniqueness over training (.svg, .png)",
    )
    .action(async (names: string[], { picture }: { picture?: string }) => {
      if (picture !== undefined && !/\.(svg|png)$/.test(picture)) {
        throw new UserError(`--picture is ${picture}; allowed: a file that ends in .svg or .png`);
      }
      const runs = await Promise.all(names.map((name) => readRun(name)));
      await openBackend("auto");
      for (const [index, run] of runs.entries()) {
        const summary = await summarise(run);
        await writeSummary(run, summary);
        process.stdout.write(`${relative("", await writeReport(run, summary))}\n`);
        if (picture === undefined || index > 0) continue;
        const svg = await heroPicture(await reportData(run, summary));
        await writeAtomic(picture, [picture.endsWith(".png") ? toPng(svg, 2) : svg]);
        process.stdout.write(`${picture}\n`);
      }
    });
}
