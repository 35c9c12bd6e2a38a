import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BatchError, RejectError } from "../bridge/errors.ts";
import type { Command } from "../bridge/protocol.ts";
import type { Answer, Batch, RankResult, Room, Welcome } from "../bridge/room.ts";
import { RunError } from "../errors.ts";
import type { NamedTensors } from "../plugins/plugin.ts";
import type { Clock } from "../schedules/schedule.ts";
import { type Checkpoint, commitCheckpoint } from "./checkpoint.ts";
import { measure, readEvaluation, saveEvaluation } from "./evaluation.ts";
import { type MetricsLine, MetricsLog } from "./metrics-log.ts";
import type { Mixture } from "./mixture.ts";
import type { Job } from "./run-folder.ts";
import { trainingScalars } from "./training-clock.ts";

/** Steps between two training lines in metrics.jsonl. */
const LOG_EVERY = 10;

/** How a training ended: at its last step, or where it was asked to stop. */
export interface ArmOutcome {
  steps: number;
  complete: boolean;
}

/** What happens while an arm trains, for whoever watches. */
export interface ArmEvents {
  progress(steps: number, line: MetricsLine): void;
}

/**
 * One training as the bridge sees it: answers every step of its rank with targets and the clock,
 * says when to evaluate, to checkpoint and to stop, and writes down what comes back.
 */
export class Arm implements Room {
  readonly components: number;
  readonly dim: number;
  /** Settled when the training has ended; rejected where it failed. */
  readonly done: Promise<ArmOutcome>;
  private settle!: { resolve(outcome: ArmOutcome): void; reject(error: Error): void };
  private readonly log: MetricsLog;
  private readonly checkpoints: string;
  private readonly scalarsAt: (clock: Clock) => Record<string, number>;
  private steps: number;
  private stopping = false;
  private resumedSeconds: number;
  private started = 0;

  constructor(
    private readonly job: Job,
    private readonly mixture: Mixture | null,
    private readonly dataDir: string,
    private readonly resumed: Checkpoint | null,
    private readonly events: ArmEvents,
  ) {
    this.components = job.config.plugin.components;
    this.dim = job.config.head.dim;
    this.log = new MetricsLog(join(job.folder, "metrics.jsonl"));
    this.checkpoints = join(job.folder, "checkpoints");
    this.scalarsAt = trainingScalars(job.config);
    this.steps = resumed?.clock.step ?? 0;
    this.resumedSeconds = resumed?.clock.seconds ?? 0;
    this.done = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
  }

  /** Goes back to where the checkpoint was taken. Call it before the worker starts. */
  async prepare(): Promise<void> {
    await mkdir(this.checkpoints, { recursive: true });
    await this.log.cutTo(this.resumed?.clock.metricsBytes ?? 0);
    if (this.resumed !== null) this.mixture?.load(this.resumed.mixture);
  }

  /** Asks for a checkpoint and an end after the step that is under way. */
  stop(): void {
    this.stopping = true;
  }

  /** Ends the training as failed, where it has not ended yet. */
  fail(error: Error): void {
    this.settle.reject(error);
  }

  async welcome(): Promise<Welcome> {
    this.started = performance.now();
    return {
      step: this.steps,
      config: JSON.stringify({
        config: this.job.config,
        dataDir: this.dataDir,
        checkpointDir: this.checkpoints,
        resume: this.resumed?.path ?? null,
      }),
      commands: this.steps === 0 ? ["evaluate"] : [],
      ...(this.mixture === null ? {} : { prototypes: await this.mixture.prototypes() }),
    };
  }

  async step(batch: Batch): Promise<Answer> {
    const clock: Clock = { step: batch.step, steps: this.job.config.train.steps, epoch: batch.epoch };
    const scalars = this.scalarsAt(clock);
    const [measured = {}] = batch.scalars;
    let answer: Answer = { scalars, commands: [] };
    let pluginScalars: Record<string, number> = {};
    if (this.mixture !== null) {
      if (batch.rows === undefined) throw new BatchError("shape", "this arm's mixture needs embeddings");
      const { rows, targets, scalars: noted } = await this.mixture.step(batch.rows, clock);
      answer = { ...answer, rows, ...(targets && { targets }) };
      pluginScalars = noted;
    }
    this.steps = batch.step + 1;
    await this.noteTraining(measured, pluginScalars);
    return { ...answer, commands: this.commandsAfter(this.steps) };
  }

  async result(result: RankResult): Promise<void> {
    switch (result.command) {
      case "evaluate":
        return this.noteEvaluation(result);
      case "checkpoint":
        return this.takeCheckpoint(result);
      case "stop":
        this.settle.resolve({ steps: result.step, complete: result.step >= this.lastStep });
    }
  }

  async state(): Promise<NamedTensors> {
    return (await this.mixture?.state()) ?? {};
  }

  async load(): Promise<void> {
    throw new RejectError("state", "the state of a run comes from its checkpoint, not from its rank");
  }

  lost(_rank: number, why: string): void {
    this.fail(
      new RunError("peer-lost", `${this.job.label}: the worker was lost at step ${this.steps}: ${why}`),
    );
  }

  left(_rank: number, reason: string): void {
    if (reason !== "") this.fail(new RunError("worker-failed", `${this.job.label}: ${reason}`));
  }

  private get lastStep(): number {
    return this.job.config.train.stop ?? this.job.config.train.steps;
  }

  private get seconds(): number {
    return this.resumedSeconds + (performance.now() - this.started) / 1000;
  }

  private commandsAfter(steps: number): Command[] {
    const { evaluateEvery, checkpointEvery } = this.job.config.train;
    const end = steps >= this.lastStep;
    const commands: Command[] = [];
    if (end || steps % evaluateEvery === 0) commands.push("evaluate");
    if (end || this.stopping || steps % checkpointEvery === 0) commands.push("checkpoint");
    if (end || this.stopping) commands.push("stop");
    return commands;
  }

  /** The loss comes one step late: what a rank measured in step t - 1 travels with the embeddings of step t. */
  private async noteTraining(
    measured: Record<string, number>,
    plugin: Record<string, number>,
  ): Promise<void> {
    const line: MetricsLine = { step: this.steps, ...measured, ...plugin };
    if (this.steps % LOG_EVERY === 0) await this.log.append(line);
    this.events.progress(this.steps, line);
  }

  private async noteEvaluation(result: RankResult): Promise<void> {
    const evaluation = readEvaluation(result, await this.mixture?.prototypes());
    const line = { ...(await measure(evaluation)), seconds: this.seconds };
    await saveEvaluation(this.job.folder, evaluation);
    await this.log.append(line);
    this.events.progress(this.steps, line);
  }

  private async takeCheckpoint(result: RankResult): Promise<void> {
    const incoming = result.text.path;
    if (incoming === undefined) throw new RunError("protocol", "the worker named no checkpoint");
    await commitCheckpoint(
      this.checkpoints,
      incoming,
      { step: result.step, seconds: this.seconds, metricsBytes: await this.log.size() },
      await this.state(),
    );
  }
}
