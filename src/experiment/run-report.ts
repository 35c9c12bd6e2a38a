import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { configYaml } from "../config/load.ts";
import { RunError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type {
  ArmFigures,
  ArmRecord,
  Figures,
  Measurement,
  NearestImages,
  ReportData,
} from "../report/data.ts";
import { reportHtml } from "../report/html.ts";
import { loadEvaluation } from "./evaluation.ts";
import { type MetricsLine, pluginScalars, readMetrics } from "./metrics-log.ts";
import { loadFigures, loadNearest } from "./probe.ts";
import { remarksAcross, remarksOf, remarksOnHeldOut } from "./remarks.ts";
import type { Job, Run } from "./run-folder.ts";
import { readSessions } from "./sessions.ts";
import { summarise } from "./summary.ts";

/** Draws runs/NAME/report.html from the run's files so far; returns its path. Errors as `reportData`. */
export async function writeReport(run: Run): Promise<string> {
  const path = join(run.folder, "report.html");
  await writeAtomic(path, [await reportHtml(await reportData([run]))]);
  return path;
}

/**
 * All that the page of a run shows, or of several side by side, whose arms are then called RUN/ARM. A run
 * that is under way or failed is shown as far as it came.
 *
 * @throws UserError if a run has no evaluation yet.
 */
export async function reportData(runs: readonly Run[]): Promise<ReportData> {
  const several = runs.length > 1;
  const parts = await Promise.all(runs.map((run) => partOf(run, several)));
  const [first] = parts;
  if (first === undefined) throw new RunError("internal", "a report of no run");
  return {
    kind: several ? "runs" : "run",
    title: runs.map(({ name }) => name).join(", "),
    figures: several ? sideBySide(parts.map(({ figures }) => figures)) : first.figures,
    arms: parts.flatMap(({ arms }) => arms),
    remarks: [...remarksAcross(runs), ...remarksOnHeldOut(runs), ...parts.flatMap(({ remarks }) => remarks)],
    details: parts.flatMap(({ details }) => details),
  };
}

async function partOf(run: Run, several: boolean): Promise<Omit<ReportData, "kind" | "title">> {
  const called = (arm: string) => (several ? `${run.name}/${arm}` : arm);
  const figures = await summarise(run, { failedToo: true });
  const ofRun = several ? ` of ${run.name}` : "";
  return {
    figures: renamed(figures, called),
    arms: await Promise.all(
      Object.entries(figures.arms).map(([arm, { seeds }]) => armRecord(run, arm, seeds, called(arm))),
    ),
    remarks: await remarksOf(run, called),
    details: [
      { title: `Configuration${ofRun}`, text: await readFile(join(run.folder, "config.yaml"), "utf8") },
      { title: `Sessions${ofRun}`, text: configYaml(await readSessions(run.folder)) },
    ],
  };
}

function renamed(figures: Figures, called: (arm: string) => string): Figures {
  const { arms, differences, failures } = figures;
  return {
    ...figures,
    arms: Object.fromEntries(Object.entries(arms).map(([arm, reached]) => [called(arm), reached])),
    ...(differences && {
      differences: differences.map((one) => ({ ...one, arms: [called(one.arms[0]), called(one.arms[1])] })),
    }),
    ...(failures && { failures: failures.map((one) => ({ ...one, arm: called(one.arm) })) }),
  };
}

/** The arms of several runs, each with its own run's untrained encoder. */
function sideBySide(all: readonly Figures[]): Figures {
  const arms = all.flatMap((figures) =>
    Object.entries(figures.arms).map(([arm, reached]): [string, ArmFigures] => [
      arm,
      { ...reached, untrained: figures.untrained.knn },
    ]),
  );
  return {
    untrained: all[0]?.untrained ?? { knn: Number.NaN },
    arms: Object.fromEntries(arms),
    differences: all.flatMap(({ differences = [] }) => differences),
    failures: all.flatMap(({ failures = [] }) => failures),
    seconds: all.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

/** `seeds`: those that are shown; all have been evaluated. */
async function armRecord(run: Run, arm: string, seeds: readonly number[], name: string): Promise<ArmRecord> {
  const jobs = run.jobs.filter((job) => job.arm === arm && seeds.includes(job.seed));
  const [first] = jobs;
  if (first === undefined) throw new RunError("internal", `${run.name} has no arm ${arm}`);
  const { tensors, classNames } = await loadEvaluation(first.folder);
  return {
    name,
    trainings: await Promise.all(jobs.map(trainingOf)),
    prototypes: rowsOf(tensors, "prototypes"),
    wins: tensors.wins?.data ?? [],
    sample: rowsOf(tensors, "sample"),
    classNames,
    classCounts: Array.from(tensors.classCounts?.data ?? []),
    probes: (await Promise.all(jobs.map(({ folder }) => loadFigures(folder)))).filter((one) => one !== null),
    nearest: nearestOf((await loadNearest(first.folder)) ?? {}),
  };
}

function nearestOf({
  nearestPrototypes: prototypes,
  nearestImages: images,
  nearestLabels: labels,
}: NamedTensors): NearestImages | undefined {
  if (prototypes === undefined || images === undefined || labels === undefined) return undefined;
  return { prototypes: Array.from(prototypes.data), images, labels: labels.data };
}

async function trainingOf({ seed, folder }: Job): Promise<ArmRecord["trainings"][number]> {
  return { seed, measurements: (await readMetrics(join(folder, "metrics.jsonl"))).map(measurementOf) };
}

function measurementOf(line: MetricsLine): Measurement {
  const number = (value: unknown) => (typeof value === "number" ? value : undefined);
  const { step, knn, unique, used, distinctUsed, perplexity } = line;
  const evaluation = knn !== undefined;
  return {
    step,
    knn,
    unique,
    used,
    distinctUsed,
    perplexity,
    // An evaluation repeats what the step before it measured, and its spread is of other images.
    ...(!evaluation && {
      loss: number(line.loss),
      online: line.online,
      spread: number(line.spread),
      entropy: number(line.entropy),
    }),
    effectiveRank: number(line.effectiveRank),
    embeddingRank: number(line.embeddingRank),
    alignment: number(line.alignment),
    uniformity: number(line.uniformity),
    scalars: pluginScalars(line),
  };
}

function rowsOf(tensors: NamedTensors, name: string) {
  const { shape: [rows = 0, dim = 0] = [], data = new Float32Array() } = tensors[name] ?? {};
  return { rows, dim, data };
}
