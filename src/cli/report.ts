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

/** `mixhead report RUN...`: draws one page from the files of one or several runs. */
export function report(program: Command): void {
  program
    .command("report")
    .description("redraw the page of a run, or draw one page of several runs side by side")
    .argument("<run...>", "names under runs/")
    .option(
      "--out <file>",
      "the file of the page (default: runs/RUN/report.html; for several runs: runs/report-RUN-RUN.html)",
    )
    .option("--picture <file>", "also draw one picture: k-NN and distinctUsed over training (.svg, .png)")
    .action(async (names: string[], { out, picture }: Options) => {
      if (picture !== undefined && !/\.(svg|png)$/.test(picture)) {
        throw new UserError(`--picture is ${picture}; allowed file extensions: .svg, .png`);
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

/** runs/RUN/report.html; for several runs, a file beside their folders. */
function placeOf(runs: readonly Run[]): string {
  const [first, second] = runs;
  if (first === undefined) throw new UserError("report needs the name of a run");
  if (second === undefined) return join(first.folder, "report.html");
  return join(dirname(first.folder), `report-${runs.map(({ name }) => name).join("-")}.html`);
}

/** Writes summary.json again if the run has ended and at least one of its trainings has not failed. */
async function renewSummary(run: Run): Promise<void> {
  const sound = await readTrainings(run);
  if (sound.length > 0 && (await hasEnded(run))) await writeSummary(run, await summarise(run));
}
