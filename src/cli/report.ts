import { dirname, join, relative } from "node:path";
import type { Command } from "commander";
import { openBackend } from "../backend/backend.ts";
import { UserError } from "../errors.ts";
import { type Run, readRun } from "../experiment/run-folder.ts";
import { reportData } from "../experiment/run-report.ts";
import { hasEnded, readTrainings, summarise, writeSummary } from "../experiment/summary.ts";
import { writeAtomic } from "../files/atomic.ts";
import { heroPicture } from "../report/hero.ts";
import { reportHtml } from "../report/html.ts";
import { toPng } from "../report/picture.ts";

interface Options {
  out?: string;
  picture?: string;
}

/** `mixhead report RUN...`: draws one page of runs from what they left so far. */
export function report(program: Command): void {
  program
    .command("report")
    .description("draw the page of a run again, or one page of several side by side")
    .argument("<run...>", "names under runs/")
    .option(
      "--out <file>",
      "where the page goes (default: runs/RUN/report.html; of several: runs/report-RUN-RUN.html)",
    )
    .option("--picture <file>", "also one picture: k-NN and distinctUsed over training (.svg, .png)")
    .action(async (names: string[], { out, picture }: Options) => {
      if (picture !== undefined && !/\.(svg|png)$/.test(picture)) {
        throw new UserError(`--picture is ${picture}; allowed: a file that ends in .svg or .png`);
      }
      const runs = await Promise.all([...new Set(names)].map((name) => readRun(name)));
      await openBackend("auto");
      const data = await reportData(runs);
      const page = out ?? placeOf(runs);
      await writeAtomic(page, [await reportHtml(data)]);
      for (const run of runs) await renewSummary(run);
      process.stdout.write(`${relative("", page)}\n`);
      if (picture === undefined) return;
      const svg = await heroPicture(data);
      await writeAtomic(picture, [picture.endsWith(".png") ? toPng(svg, 2) : svg]);
      process.stdout.write(`${picture}\n`);
    });
}

/** runs/RUN/report.html, or of several runs a page beside their folders. */
function placeOf(runs: readonly Run[]): string {
  const [first, second] = runs;
  if (first === undefined) throw new UserError("report takes the name of a run");
  if (second === undefined) return join(first.folder, "report.html");
  return join(dirname(first.folder), `report-${runs.map(({ name }) => name).join("-")}.html`);
}

/** What summary.json says is of a run that has ended, and of those of its trainings that have not failed. */
async function renewSummary(run: Run): Promise<void> {
  const sound = await readTrainings(run);
  if (sound.length > 0 && (await hasEnded(run))) await writeSummary(run, await summarise(run));
}
