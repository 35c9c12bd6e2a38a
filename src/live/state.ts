import { diagnoseArm } from "../experiment/diagnostics.ts";
import { evaluationsOf, type MetricsLine, pluginScalars } from "../experiment/metrics-log.ts";
import { wayOn } from "../experiment/remarks.ts";
import { type Job, lastStep, type Run } from "../experiment/run-folder.ts";
import { mean } from "../experiment/statistics.ts";
import { reachOf } from "../metrics/student.ts";
import type { ArmState, Figures, Point, RunState, State } from "./messages.ts";

/** A training as its files show it. */
export interface Training {
  job: Job;
  lines: readonly MetricsLine[];
  /** When its metrics last changed, in ms since 1970; null if there are none. */
  changed: number | null;
  /** Why the last attempt failed; null if it did not. */
  failure: string | null;
}

/** Lines that the pace is taken from. */
const PACE_LINES = 20;

/**
 * What the page says of a run.
 * @param began the start of the current session, in ms since 1970; null if nobody trains the run
 */
export function runState(
  run: Run,
  trainings: readonly Training[],
  { began, unreadable }: { began: number | null; unreadable: number },
): RunState {
  const states = trainings.map((training) => stateOf(training, began));
  const arms = [...run.arms.keys()].map((arm) => {
    const own = trainings.flatMap((training, index) =>
      training.job.arm === arm ? [{ training, state: states[index] ?? "waiting" }] : [],
    );
    return armState(arm, own, began !== null);
  });
  const started = trainings.flatMap(({ lines }) => lines.find(({ step }) => step === 0)?.knn ?? []);
  return {
    name: run.name,
    state: together(states, began !== null),
    secondsLeft: secondsLeft(trainings, states),
    wayOn: wayOn(run),
    untrained: started.length === 0 ? null : mean(started),
    arms,
    trainings: trainings.map(({ job }) => job.arm),
    reach: Array.from({ length: run.seeds.length + 1 }, (_, n) => (n < 2 ? null : reachOf(n))),
    unreadable,
  };
}

/** What the page draws of a measurement. */
export function pointOf(line: MetricsLine): Point {
  const evaluation = line.knn !== undefined;
  return {
    step: line.step,
    // An evaluation repeats the measurements of the step before it, and its spread is that of other images.
    ...(evaluation
      ? {}
      : {
          loss: line.loss ?? undefined,
          online: line.online,
          spread: numeric(line.spread),
          entropy: numeric(line.entropy),
          scalars: pluginScalars(line),
        }),
    knn: line.knn,
    distinctUsed5: line.distinctUsed?.["0.5"],
    unique25: line.unique?.["0.25"],
    unique5: line.unique?.["0.5"],
    used: line.used,
  };
}

function stateOf({ job, lines, changed, failure }: Training, began: number | null): State {
  if (evaluationsOf(lines.slice(-5)).some(({ step }) => step >= lastStep(job))) return "complete";
  if (failure !== null) return "failed";
  if (changed === null || lines.length === 0) return "waiting";
  if (began === null) return "stopped";
  // A session that resumes a run may not have reached this training yet.
  return changed >= began ? "running" : "waiting";
}

/** Of several trainings' states, the most important. */
function together(states: readonly State[], underWay: boolean): State {
  const every = (...of: State[]) => states.every((state) => of.includes(state));
  if (every("complete")) return "complete";
  if (every("waiting")) return "waiting";
  if (states.includes("running") || (underWay && states.includes("waiting"))) return "running";
  return states.includes("failed") ? "failed" : "stopped";
}

function armState(
  name: string,
  own: readonly { training: Training; state: State }[],
  underWay: boolean,
): ArmState {
  const trainings = own.map(({ training }) => training);
  const states = own.map(({ state }) => state);
  const ofSeed = (job: Job, text: string) => (trainings.length === 1 ? text : `Seed ${job.seed}: ${text}`);
  const sum = (of: (training: Training) => number) => trainings.reduce((all, one) => all + of(one), 0);
  return {
    name,
    state: together(states, underWay),
    seeds: trainings.length,
    step: sum(({ lines }) => lines.at(-1)?.step ?? 0),
    steps: sum(({ job }) => lastStep(job)),
    secondsLeft: secondsLeft(trainings, states),
    figures: figuresOf(trainings),
    warnings: diagnoseArm(trainings),
    failures: trainings.flatMap(({ job, failure }) => (failure === null ? [] : ofSeed(job, failure))),
  };
}

function figuresOf(trainings: readonly Training[]): Figures {
  const newest = (of: (point: Point) => number | undefined): number | null => {
    const values = trainings.flatMap(({ lines }) => {
      const line = lines.findLast((one) => of(pointOf(one)) !== undefined);
      return line === undefined ? [] : (of(pointOf(line)) ?? []);
    });
    return values.length === 0 ? null : mean(values);
  };
  return {
    loss: newest(({ loss }) => loss),
    knn: newest(({ knn }) => knn),
    distinctUsed5: newest(({ distinctUsed5 }) => distinctUsed5),
    unique5: newest(({ unique5 }) => unique5),
    used: newest(({ used }) => used),
  };
}

/** The work that is left over the trainings under way; those that wait take the others' pace. */
function secondsLeft(trainings: readonly Training[], states: readonly State[]): number | null {
  const atWork = states.filter((state) => state === "running").length;
  const paces = trainings.flatMap(({ lines }) => secondsAStep(lines) ?? []);
  if (atWork === 0 || paces.length === 0) return null;
  const work = trainings.map(({ job, lines, failure }) => {
    const steps = failure === null ? Math.max(0, lastStep(job) - (lines.at(-1)?.step ?? 0)) : 0;
    return steps * (secondsAStep(lines) ?? mean(paces));
  });
  return work.reduce((all, one) => all + one, 0) / atWork;
}

/** Between the last two evaluations, these included; before the second one, of the newest training lines. */
function secondsAStep(lines: readonly MetricsLine[]): number | null {
  const [before, last] = evaluationsOf(lines).slice(-2);
  if (before !== undefined && last !== undefined && last.step > before.step && before.step > 0) {
    return (last.seconds - before.seconds) / (last.step - before.step);
  }
  const took = lines.slice(-PACE_LINES).flatMap(({ stepSeconds }) => numeric(stepSeconds) ?? []);
  return took.length === 0 ? null : mean(took);
}

function numeric(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}
