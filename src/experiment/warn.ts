import { diagnose, settingOf, type Warning } from "./diagnostics.ts";
import type { MetricsHook } from "./hooks.ts";
import type { MetricsLine } from "./metrics-log.ts";
import type { Job } from "./run-folder.ts";

/**
 * Warns of a training that goes wrong as soon as its measurements show it, each kind once.
 * Notes appear in the report only: the terminal shows what may be a reason to stop the run.
 */
export function warnings(say: (text: string) => void): MetricsHook {
  const trainings = new Map<Job, { lines: MetricsLine[]; said: Set<Warning["kind"]> }>();
  return (job, line) => {
    const training = trainings.get(job) ?? { lines: [], said: new Set() };
    trainings.set(job, training);
    training.lines.push(line);
    for (const { kind, level, text } of diagnose(training.lines, settingOf(job.config))) {
      if (level === "note" || training.said.has(kind)) continue;
      training.said.add(kind);
      say(`${job.label}, step ${line.step}: ${text}`);
    }
  };
}
