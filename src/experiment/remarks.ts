import { join } from "node:path";
import type { Remark } from "../report/data.ts";
import { count } from "../report/format.ts";
import { diagnoseArm } from "./diagnostics.ts";
import { readFailures } from "./failure.ts";
import { checkFree } from "./lock.ts";
import { evaluationsOf, type MetricsLine, readMetrics } from "./metrics-log.ts";
import { type Job, lastStep, type Run } from "./run-folder.ts";
import { missingValues } from "./values.ts";

/** Remarks to read before the figures of a run, the gravest first; `called` names its arms. */
export async function remarksOf(run: Run, called: (arm: string) => string): Promise<Remark[]> {
  const failures = await readFailures(run);
  const underWay = await checkFree(run.folder).then(
    () => false,
    () => true,
  );
  const remarks: Remark[] = [];
  for (const arm of run.arms.keys()) {
    const trainings = await Promise.all(
      run.jobs
        .filter((job) => job.arm === arm)
        .map(async (job) => ({ job, lines: await readMetrics(join(job.folder, "metrics.jsonl")) })),
    );
    const ofSeed = ({ seed }: Job, text: string) => (trainings.length > 1 ? `Seed ${seed}: ${text}` : text);
    const furthest = Math.max(...trainings.map(({ lines }) => evaluationsOf(lines).at(-1)?.step ?? 0));
    for (const { job, lines } of trainings) {
      const failure = failures.find((one) => one.arm === arm && one.seed === job.seed)?.error;
      const text =
        failure === undefined ? progress({ run, job, lines, underWay, furthest }) : failed(failure, lines);
      if (text === null) continue;
      remarks.push({
        arm: called(arm),
        level: failure === undefined ? "note" : "failure",
        text: ofSeed(job, text),
      });
    }
    remarks.push(...diagnoseArm(trainings).map((warning) => ({ ...warning, arm: called(arm) })));
  }
  const levels: Remark["level"][] = ["failure", "warning", "note"];
  return remarks.sort((a, b) => levels.indexOf(a.level) - levels.indexOf(b.level));
}

/** The command that resumes a run. Functions are not recorded, so their experiment file must provide them again. */
export function wayOn({ name, jobs }: Run): string {
  const needsFile = jobs.some(({ config }) => missingValues(config, undefined).length > 0);
  return needsFile ? "run the experiment file again" : `npx mixhead resume ${name}`;
}

/** Settings of the data that differ between runs, which cannot be compared then. */
export function remarksAcross(runs: readonly Run[]): Remark[] {
  const all = runs.flatMap(({ arms }) => [...arms.values()].map(({ data }) => new Map(Object.entries(data))));
  const names = [...new Set(all.flatMap((data) => [...data.keys()]))];
  const differ = names.filter((name) => new Set(all.map((data) => JSON.stringify(data.get(name)))).size > 1);
  if (runs.length < 2 || differ.length === 0) return [];
  const settings = differ.map((name) => `data.${name}`).join(", ");
  return [
    {
      arm: null,
      level: "warning",
      text: `The runs differ in ${settings}, so their accuracies are of different tasks.`,
    },
  ];
}

/** The remark that accuracies are not those of the test set, if a run holds training images out. */
export function remarksOnHeldOut(runs: readonly Run[]): Remark[] {
  const all = runs.flatMap(({ arms }) => [...arms.values()]);
  const counts = new Set(all.flatMap(({ data }) => data.heldOut ?? []));
  return [...counts].map((heldOut) => ({
    arm: null,
    level: "note",
    text: `Evaluated on ${count(heldOut)} held-out training images, not on the test set.`,
  }));
}

function failed(error: string, lines: readonly MetricsLine[]): string {
  const last = evaluationsOf(lines).at(-1)?.step;
  const reached =
    last === undefined ? "It was never evaluated." : `Its last evaluation is of step ${count(last)}.`;
  return `Failed: ${error.replace(/[.!]$/, "")}. ${reached}`;
}

interface Progress {
  run: Run;
  job: Job;
  lines: readonly MetricsLine[];
  underWay: boolean;
  /** The step of the last evaluation of any seed of its arm. */
  furthest: number;
}

/** The progress of an unfinished training; null if it is complete. */
function progress({ run, job, lines, underWay, furthest }: Progress): string | null {
  const evaluated = evaluationsOf(lines).at(-1)?.step;
  const last = lastStep(job);
  if (evaluated !== undefined && evaluated >= last) return null;
  const goesOn = underWay ? "It is under way." : `Go on with: ${wayOn(run)}.`;
  if (evaluated === undefined) return `Not drawn, since it has no evaluation yet. ${goesOn}`;
  const reached = `its evaluation at step ${count(evaluated)} of ${count(last)}`;
  if (evaluated < furthest) return `Not drawn, since ${reached} is behind another seed's. ${goesOn}`;
  return `Drawn to ${reached}. ${goesOn}`;
}
