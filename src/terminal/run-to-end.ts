import { relative } from "node:path";
import { closeBackend } from "../backend/backend.ts";
import { RunError, sentence } from "../errors.ts";
import type { MetricsHook } from "../experiment/hooks.ts";
import { trainRun } from "../experiment/run.ts";
import type { Run } from "../experiment/run-folder.ts";
import { writeReport } from "../experiment/run-report.ts";
import { type Summary, summarise, writeSummary } from "../experiment/summary.ts";
import { tensorboard } from "../experiment/tensorboard.ts";
import { Trace } from "../experiment/trace.ts";
import type { RunEvents, RunOptions } from "../experiment/training.ts";
import { warnings } from "../experiment/warn.ts";
import { type Live, serveLive } from "../live/server.ts";
import { differencesAndFailures } from "../report/differences.ts";
import { comparisonTable, groupsTable } from "../report/table.ts";
import { LiveView } from "./live-view.ts";
import { onSignals } from "./signals.ts";

export interface RunToEndOptions
  extends Pick<RunOptions, "open" | "jobs" | "ranks" | "maxRestarts" | "listen"> {
  /** Ends at a checkpoint, as the first Ctrl-C does. */
  signal?: AbortSignal | undefined;
  /** Shows nothing and prints no table. */
  quiet?: boolean | undefined;
  /** Serves the live page while it goes, and says where. */
  live?: boolean | undefined;
  hooks?: readonly MetricsHook[] | undefined;
  /** A file that is to hold a Chrome trace of both sides of every training. */
  trace?: string | undefined;
}

/**
 * Trains the rest of a run and shows its progress, then writes summary.json and report.html and
 * prints the table. The first Ctrl-C, or any other signal that says that the end is near, ends at a
 * checkpoint, a Ctrl-C after it at once. Where some trainings failed the process's exit status is 1.
 *
 * @throws RunError "interrupted" after Ctrl-C or an abort, "preempted" after another signal; the first failure where
 * every training failed.
 */
export async function runToEnd(run: Run, options: RunToEndOptions = {}): Promise<Summary> {
  try {
    return await trainAndShow(run, options);
  } finally {
    await closeBackend();
  }
}

async function trainAndShow(run: Run, options: RunToEndOptions): Promise<Summary> {
  const { signal, quiet = false, live = false, hooks = [], open, jobs, ranks, maxRestarts, listen } = options;
  const trace = options.trace === undefined ? undefined : await Trace.begin(options.trace);
  const view = quiet ? null : new LiveView();
  const abort = new AbortController();
  const stop = () => abort.abort();
  let preempted = false;
  const unsubscribe = onSignals({
    stop(signal) {
      view?.note("ends after a checkpoint; Ctrl-C again ends at once");
      preempted = signal !== "SIGINT";
      stop();
    },
    quit: () => process.exit(1),
  });
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  let page: Live | null = null;
  try {
    page = live ? await serveLive(run.folder) : null;
    if (page !== null) process.stderr.write(`the live page: ${page.url}\n`);
    await trainRun(run, {
      events: view ?? silent,
      signal: abort.signal,
      hooks: [tensorboard(), ...(view === null ? [] : [warnings((text) => view.note(text))]), ...hooks],
      jobs,
      ranks,
      maxRestarts,
      listen,
      trace,
      ...(open && { open }),
    });
  } catch (error) {
    // Failed trainings have a report of what was evaluated; without an evaluation there is only the error.
    if (!abort.signal.aborted) await writeReport(run).catch(() => {});
    // The run can resume from its last checkpoint, even if something else has failed meanwhile.
    if (preempted && error instanceof RunError)
      throw new RunError("preempted", sentence(error), { cause: error });
    throw error;
  } finally {
    view?.close();
    await page?.close();
    await trace?.end();
    unsubscribe();
    signal?.removeEventListener("abort", stop);
  }
  const summary = await summarise(run);
  await writeSummary(run, summary);
  const report = await writeReport(run);
  if (!quiet) {
    const parts = [
      comparisonTable(summary),
      groupsTable(summary),
      differencesAndFailures(summary),
      relative("", report),
    ];
    process.stdout.write(`${parts.filter((part) => part !== "").join("\n\n")}\n`);
  }
  if (summary.failures !== undefined) process.exitCode = 1;
  return summary;
}

const silent: RunEvents = { note() {}, started() {}, progress() {}, ended() {} };
