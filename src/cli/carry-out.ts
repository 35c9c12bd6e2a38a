import { relative } from "node:path";
import { carryOutRun } from "../experiment/run.ts";
import type { Run } from "../experiment/run-folder.ts";
import { writeReport } from "../experiment/run-report.ts";
import { summarise, writeSummary } from "../experiment/summary.ts";
import { comparisonTable } from "../report/table.ts";
import { LiveView } from "./live-view.ts";

/**
 * Trains what is left of a run while it shows it, then writes summary.json and report.html and
 * prints the table. The first Ctrl-C ends at a checkpoint, the second one at once.
 */
export async function carryOut(run: Run): Promise<void> {
  const view = new LiveView();
  const abort = new AbortController();
  const interrupt = () => {
    if (abort.signal.aborted) process.exit(1);
    view.note("ends after a checkpoint; Ctrl-C again ends at once");
    abort.abort();
  };
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  try {
    await carryOutRun(run, view, abort.signal);
  } finally {
    view.close();
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  }
  const summary = await summarise(run);
  await writeSummary(run, summary);
  const page = await writeReport(run, summary);
  process.stdout.write(`${comparisonTable(summary)}\n\n${relative("", page)}\n`);
}
