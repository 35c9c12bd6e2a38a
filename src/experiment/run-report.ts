import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { configYaml } from "../config/load.ts";
import { RunError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import type { NamedTensors } from "../plugins/plugin.ts";
import type { ArmRecord, ReportData } from "../report/data.ts";
import { reportHtml } from "../report/html.ts";
import { loadEvaluation } from "./evaluation.ts";
import { readMetrics } from "./metrics-log.ts";
import type { Run } from "./run-folder.ts";
import { readSessions } from "./sessions.ts";
import type { Summary } from "./summary.ts";

/** Draws runs/NAME/report.html from what the run has left on disk; returns its path. */
export async function writeReport(run: Run, summary: Summary): Promise<string> {
  const path = join(run.folder, "report.html");
  await writeAtomic(path, [await reportHtml(await reportData(run, summary))]);
  return path;
}

/** All that the page shows, read from the run's folder. */
export async function reportData(run: Run, figures: Summary): Promise<ReportData> {
  const arms = await Promise.all(
    Object.entries(figures.arms).map(([arm, { seeds }]) => armRecord(run, arm, seeds)),
  );
  const sessions = await readSessions(run.folder);
  return {
    title: run.name,
    figures,
    arms,
    details: [
      { title: "Configuration", text: await readFile(join(run.folder, "config.yaml"), "utf8") },
      { title: "Sessions", text: configYaml(sessions) },
    ],
  };
}

/** `seeds`: those whose training has not failed. */
async function armRecord(run: Run, arm: string, seeds: number[]): Promise<ArmRecord> {
  const jobs = run.jobs.filter((job) => job.arm === arm && seeds.includes(job.seed));
  const [first] = jobs;
  if (first === undefined) throw new RunError("internal", `${run.name} has no arm ${arm}`);
  const tensors = await loadEvaluation(first.folder);
  return {
    name: arm,
    trainings: await Promise.all(
      jobs.map(async ({ seed, folder }) => ({
        seed,
        measurements: await readMetrics(join(folder, "metrics.jsonl")),
      })),
    ),
    prototypes: rowsOf(tensors, "prototypes"),
    wins: tensors.wins?.data ?? [],
    sample: rowsOf(tensors, "sample"),
  };
}

function rowsOf(tensors: NamedTensors, name: string) {
  const { shape: [rows = 0, dim = 0] = [], data = new Float32Array() } = tensors[name] ?? {};
  return { rows, dim, data };
}
