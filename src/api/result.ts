import type { Failure } from "../experiment/failure.ts";
import type { Run } from "../experiment/run-folder.ts";
import {
  type ArmSummary,
  type Difference,
  difference,
  readTrainings,
  type Summary,
  type TrainingFigures,
} from "../experiment/summary.ts";

/** The result of a run. Its folder has it as well: summary.json, report.html and each training's metrics.jsonl. */
export interface ExperimentResult<Arm extends string = string> {
  name: string;
  folder: string;
  summary: Summary;
  /** Figures over seeds, by arm, without arms whose trainings have all failed. */
  arms: Partial<Record<Arm, ArmSummary>>;
  /** The final figures of each training, by seed and then by arm. */
  trainings: TrainingFigures[];
  failures: Failure[];
  /** The paired test of `a` minus `b` over their common seeds; null for fewer than two. */
  difference(a: Arm, b: Arm): Omit<Difference, "arms"> | null;
}

export async function resultOf(run: Run, summary: Summary): Promise<ExperimentResult> {
  const trainings = await readTrainings(run);
  const of = (arm: string) => trainings.filter((training) => training.arm === arm);
  return {
    name: run.name,
    folder: run.folder,
    summary,
    arms: summary.arms,
    trainings,
    failures: summary.failures ?? [],
    difference: (a, b) => difference(of(a), of(b)),
  };
}
