import { join } from "node:path";
import type { RankResult, Rows } from "../bridge/room.ts";
import { RunError, sentence } from "../errors.ts";
import type { Disk } from "./disk.ts";
import { measure, readEvaluation, saveEvaluation } from "./evaluation.ts";
import type { MetricsHook } from "./hooks.ts";
import { type MetricsLine, MetricsLog } from "./metrics-log.ts";
import type { Job } from "./run-folder.ts";

/** Steps between two training lines in metrics.jsonl. */
const LOG_EVERY = 10;

/** What a training writes down of its steps and evaluations. */
export class TrainingRecord {
  private readonly log: MetricsLog;
  /** The log's length before the last evaluation, if a longer run would not have made it. */
  private beforeEnd: number | undefined;

  constructor(
    private readonly job: Job,
    private readonly hooks: readonly MetricsHook[],
    private readonly progress: (steps: number, line: MetricsLine) => void,
    private readonly disk: Disk,
  ) {
    this.log = new MetricsLog(join(job.folder, "metrics.jsonl"), (write) => disk.write(write));
  }

  get path(): string {
    return this.log.path;
  }

  /** See MetricsLog. */
  cutTo(bytes: number): Promise<void> {
    return this.log.cutTo(bytes);
  }

  /** The length in bytes of the lines that a longer run would have too: a checkpoint's. */
  async lastingBytes(): Promise<number> {
    return this.beforeEnd ?? (await this.log.size());
  }

  /**
   * After step `steps` - 1. The loss comes one step late: what a rank measured in step t - 1 travels with the
   * embeddings of step t.
   */
  async training(
    steps: number,
    measured: Record<string, number>,
    plugin: Record<string, number>,
  ): Promise<void> {
    const line: MetricsLine = { ...plugin, ...measured, step: steps };
    if (steps % LOG_EVERY === 0) await this.write(line);
    this.progress(steps, line);
  }

  /** `prototypes`: used if the rank sent none. `seconds`: returns those of training so far; called after the measurements. */
  async evaluation(result: RankResult, prototypes: Rows | undefined, seconds: () => number): Promise<void> {
    if (result.step % this.job.config.train.evaluateEvery !== 0) this.beforeEnd = await this.log.size();
    const evaluation = readEvaluation(result, prototypes);
    const line = { ...(await measure(evaluation)), seconds: seconds() };
    await this.disk.write(() => saveEvaluation(this.job.folder, evaluation));
    await this.write(line);
    this.progress(result.step, line);
  }

  private async write(line: MetricsLine): Promise<void> {
    await this.log.append(line);
    try {
      for (const hook of this.hooks) hook(this.job, line);
    } catch (error) {
      if (error instanceof RunError && error.code === "disk") throw error;
      const why = `what listens to the metrics failed at step ${line.step}: ${sentence(error)}`;
      throw new RunError("internal", why, { cause: error });
    }
  }
}
