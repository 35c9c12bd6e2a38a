import type { MetricsLine } from "./metrics-log.ts";
import type { Job } from "./run-folder.ts";

/**
 * Hears of every line as it is written to a training's metrics.jsonl: the way to TensorBoard and to any
 * other logger. After a resume it is called again for the steps that the run repeats.
 */
export type MetricsHook = (job: Job, line: MetricsLine) => void;
