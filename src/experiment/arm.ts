import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Tensor } from "../bridge/codec.ts";
import { BatchError, RejectError } from "../bridge/errors.ts";
import type { Run } from "../bridge/executor-run.ts";
import type { Command } from "../bridge/protocol.ts";
import type { Answer, Batch, Hello, RankResult, Room, RunFailure, Welcome } from "../bridge/room.ts";
import { RunError, sentence, UserError } from "../errors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type { EdgeStepOptions } from "../mixture/edge.ts";
import { checkExecutor } from "../mixture/placement.ts";
import type { Clock } from "../schedules/schedule.ts";
import type { Answerer, StepAnswer } from "./answerer.ts";
import { type Checkpoint, commitCheckpoint, incomingFolder, sweepCheckpoints } from "./checkpoint.ts";
import { Disk } from "./disk.ts";
import type { MetricsHook } from "./hooks.ts";
import { WorkerLost } from "./lost.ts";
import type { Origin } from "./manifest.ts";
import { type MetricsLine, metricsLine } from "./metrics-log.ts";
import { forgetProbe, readProbe, saveProbe } from "./probe.ts";
import { type Job, lastStep } from "./run-folder.ts";
import type { Spans } from "./trace.ts";
import { trainingScalars } from "./training-clock.ts";
import { TrainingRecord } from "./training-record.ts";

/** Seconds in which a worker loads torch, the data and the encoder, if its deadline is shorter. */
const START_SECONDS = 180;

/** How a training ended: at its last step, or after it was asked to stop. */
export interface ArmOutcome {
  steps: number;
  complete: boolean;
}

/** The events of a training. */
interface ArmEvents {
  /** Its worker has joined: training and evaluation begin. */
  began(): void;
  /** A note for the user. */
  note(text: string): void;
  progress(steps: number, line: MetricsLine): void;
}

export interface ArmOptions {
  job: Job;
  /** Null in a joint arm, whose ranks make their targets themselves. */
  answerer: Answerer | null;
  dataDir: string;
  resumed: Checkpoint | null;
  /** The length in bytes to which its metrics.jsonl is cut. */
  metricsBytes: number;
  /** Identifies the training in its checkpoints. */
  origin: Origin;
  events: ArmEvents;
  /** Called for every line that is written to metrics.jsonl. */
  hooks: readonly MetricsHook[];
  /** Times Node's share of a step. */
  spans: Spans;
  /** The number of ranks; undefined: as many as join. */
  ranks?: number | undefined;
  /** Settles when all messages of its ranks so far are processed. */
  idle: () => Promise<void>;
}

/**
 * One training as the bridge sees it. It answers every step of its ranks with targets and the clock, gives the
 * commands to evaluate, checkpoint and stop, and records rank 0's results. It ends with its world; a world that is
 * restarted joins another Arm, which continues from the last checkpoint.
 */
export class Arm implements Room {
  readonly components: number;
  readonly dim: number;
  /** Settles when the training has ended; rejects if it failed. */
  readonly done: Promise<ArmOutcome>;
  private settle!: { resolve(outcome: ArmOutcome): void; reject(error: Error): void };
  private readonly record: TrainingRecord;
  private readonly disk: Disk;
  private readonly checkpoints: string;
  private readonly scalarsAt: (clock: Clock) => Record<string, number>;
  private steps: number;
  private stopping = false;
  /** Whether the ranks were told that the current step is their last. */
  private dismissed = false;
  private resumedSeconds: number;
  private started = 0;
  private world = 1;
  /** Tells the ranks of this world from those of an earlier one. */
  private readonly meeting = randomUUID();
  private hello: NodeJS.Timeout | undefined;
  /** The mixture's state for the checkpoint under way, if it is read from the ranks' device. */
  private saved: Promise<NamedTensors> | undefined;
  private readonly job: Job;
  private readonly answerer: Answerer | null;
  private readonly resumed: Checkpoint | null;

  constructor(private readonly options: ArmOptions) {
    const { job, answerer, resumed } = options;
    this.job = job;
    this.answerer = answerer;
    this.resumed = resumed;
    this.components = job.config.plugin.components;
    this.dim = job.config.head.dim;
    this.disk = new Disk(job.config.train.diskFull, (text) => options.events.note(`${job.label}: ${text}`));
    this.record = new TrainingRecord(job, options.hooks, options.events.progress, this.disk);
    this.checkpoints = join(job.folder, "checkpoints");
    this.scalarsAt = trainingScalars(job.config, job.values?.schedules);
    this.steps = resumed?.clock.step ?? 0;
    this.resumedSeconds = resumed?.clock.seconds ?? 0;
    this.done = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.done.catch(() => {}).finally(() => clearTimeout(this.hello)); // awaited by whoever trains it
  }

  /** Its worker's process has started and is to say hello. */
  launched(): void {
    const seconds = Math.max(START_SECONDS, this.job.config.bridge.deadline);
    const why = `its hello did not come within ${seconds} s (bridge.deadline allows for longer)`;
    this.hello = setTimeout(() => this.late(0, why), 1000 * seconds);
  }

  /** Restores the checkpoint. Call it before the worker starts. */
  async prepare(): Promise<void> {
    await sweepCheckpoints(this.checkpoints, this.steps, this.job.config.train.keepCheckpoints);
    await this.record.cutTo(this.options.metricsBytes);
    await forgetProbe(this.job.folder);
    if (this.resumed !== null) this.answerer?.load(this.resumed.mixture);
  }

  /** Asks for a checkpoint and an end after the current step. `nobody`: no worker was started, so it may end at once. */
  stop(nobody = false): void {
    this.stopping = true;
    this.disk.giveUp();
    if (nobody && this.started === 0) this.settle.resolve({ steps: this.steps, complete: false });
  }

  /**
   * Its worker's process has ended, with an error or "". If it was told to stop, it has sent all its results, which may
   * still wait for their turn here.
   */
  exited(error: string): void {
    if (error === "" && this.dismissed) return;
    this.fail(new RunError("worker-failed", error || "its worker ended before its last step"));
  }

  /** Fails the training, unless it has ended. */
  fail(error: Error): void {
    this.settle.reject(error);
  }

  async welcome(hello: Hello): Promise<Welcome> {
    this.checkWorld(hello);
    if (this.answerer?.device !== undefined) checkExecutor(hello);
    if (this.started === 0) {
      this.started = performance.now();
      this.options.events.began();
    }
    const commands: Command[] = this.steps === 0 ? ["evaluate"] : [];
    this.world = hello.world;
    clearTimeout(this.hello);
    return {
      step: this.steps,
      config: JSON.stringify({
        config: { ...this.job.config, placement: this.answerer?.placement ?? "host" },
        dataDir: this.options.dataDir,
        checkpointDir: this.checkpoints,
        resume: this.resumed?.path ?? null,
        meeting: this.meeting,
      }),
      commands,
      ...(await this.answerer?.welcome()),
    };
  }

  private checkWorld({ rank, world }: Hello): void {
    const { ranks = world } = this.options;
    if (world === ranks) return;
    throw new RejectError(
      "rank",
      `rank ${rank} is one of ${world}, but this run was started for ${ranks} (--ranks): start as many of both`,
    );
  }

  step(batch: Batch): Promise<Answer> {
    return this.options.spans.time("answer", batch.step, () => this.advance(batch));
  }

  private async advance(batch: Batch): Promise<Answer> {
    const clock: Clock = { step: batch.step, steps: this.job.config.train.steps, epoch: batch.epoch };
    const [measured = {}] = batch.scalars;
    // Decide late: a step may wait for the user's loop, which may be left meanwhile.
    let decided: Command[] | undefined;
    const decide = () => {
      decided ??= this.commandsAfter(batch.step + 1);
      return decided;
    };
    const save = () => decide().includes("checkpoint");
    const { rows, targets, run, scalars, bad, saved, clock: own } = await this.answer(batch, clock, { save });
    const commands = decide();
    // A rank that is told to stop answers no further run.
    this.saved = saved ?? (this.answerer?.device && save() ? Promise.resolve(await this.state()) : undefined);
    this.saved?.catch(() => {}); // awaited when the rank has its half of the checkpoint
    if (bad !== undefined) throw this.refused(bad);
    this.steps = batch.step + 1;
    await this.record.training(this.steps, measured, scalars);
    return {
      scalars: { ...this.scalarsAt(clock), ...own },
      commands,
      ...(rows && { rows }),
      ...(targets && { targets }),
      ...(run && { run }),
    };
  }

  /** A batch that a device refused is reported one step late, when the training cannot go back. */
  private refused({ step, row }: { step: number; row: number }): BatchError {
    const why = `row ${row} of the embeddings of step ${step} is not finite or all zero; that step has not changed the mixture`;
    this.fail(new RunError("bad-batch", why));
    return new BatchError("row", why, row);
  }

  /** If the plugin fails, the training fails with the plugin's own error, not with the rank's. */
  private async answer(batch: Batch, clock: Clock, options: EdgeStepOptions): Promise<StepAnswer> {
    const { answerer } = this;
    if (answerer === null) return { scalars: {} };
    try {
      const answer = await this.options.spans.time("queue", clock.step, () =>
        answerer.step(batch, clock, options),
      );
      const taken = Object.keys(answer.scalars).find((name) => Object.hasOwn(metricsLine.shape, name));
      if (taken === undefined) return answer;
      throw new UserError(`step ${clock.step}: "${taken}" is reserved; rename this scalar`);
    } catch (error) {
      this.fail(
        error instanceof UserError ? error : new RunError("bad-batch", sentence(error), { cause: error }),
      );
      throw error;
    }
  }

  /** A result that cannot be processed ends the training: after its last step, nobody reads a rank's error. */
  async result(result: RankResult): Promise<void> {
    if (result.rank !== 0) return; // the other ranks only waited for rank 0
    try {
      if (result.text.failed !== undefined) return this.disk.workerFailed(result.text.failed);
      await this.take(result);
    } catch (error) {
      this.fail(error instanceof Error ? error : new RunError("internal", String(error)));
      throw error;
    }
  }

  private async take(result: RankResult): Promise<void> {
    switch (result.command) {
      case "evaluate":
        return this.noteEvaluation(result);
      case "probe":
        return this.disk.write(() => saveProbe(this.job.folder, readProbe(result)));
      case "checkpoint":
        return this.takeCheckpoint(result);
      case "stop":
        this.settle.resolve({ steps: result.step, complete: result.step >= lastStep(this.job) });
    }
  }

  async state(): Promise<NamedTensors> {
    return (await this.answerer?.state()) ?? {};
  }

  attach(send: (run: Run) => void): void {
    this.answerer?.device?.attach(send);
  }

  values(seq: number, tensors: Tensor[]): void {
    this.answerer?.device?.values(seq, tensors);
  }

  /** The training fails with the error of the mixture's operation. */
  failed(_rank: number, failure: RunFailure): string | undefined {
    const error = this.answerer?.device?.failed(failure);
    this.fail(error ?? new RunError("worker-failed", failure.message));
    return error?.message;
  }

  late(rank: number, why: string): void {
    this.fail(new RunError("deadline", `${this.nameOf(rank)} hangs: ${why}`));
  }

  lost(rank: number, why: string, owed?: string): void {
    const who = this.nameOf(rank);
    const fail = () => {
      this.answerer?.device?.lost(`${who} was lost: ${why}`);
      this.fail(new WorkerLost(who, owed ?? this.part, why));
    };
    // A worker that was told to stop may have sent all its results; then the training has ended well.
    if (this.dismissed && owed === undefined) void this.options.idle().then(fail);
    else fail();
  }

  left(rank: number, reason: string): void {
    if (this.dismissed && reason === "" && rank !== 0) return;
    this.answerer?.device?.lost(`${this.nameOf(rank)} has left${reason && `: ${reason}`}`);
    if (reason !== "") this.fail(new RunError("worker-failed", reason));
    else if (!this.dismissed) this.lost(rank, "it has left, since it does not reach the others");
  }

  private nameOf(rank: number): string {
    return this.world > 1 ? `rank ${rank}` : "the worker";
  }

  /** The next message of the worker, apart from results. */
  private get part(): string {
    return `its part of step ${this.steps}`;
  }

  private get seconds(): number {
    return this.resumedSeconds + (performance.now() - this.started) / 1000;
  }

  private commandsAfter(steps: number): Command[] {
    const { evaluateEvery, checkpointEvery } = this.job.config.train;
    const end = steps >= lastStep(this.job);
    const commands: Command[] = [];
    if (end || steps % evaluateEvery === 0) commands.push("evaluate");
    if (end) commands.push("probe");
    if (end || this.stopping || steps % checkpointEvery === 0) commands.push("checkpoint");
    this.dismissed = end || this.stopping;
    if (this.dismissed) commands.push("stop");
    return commands;
  }

  private async noteEvaluation(result: RankResult): Promise<void> {
    const prototypes = result.tensors.prototypes ? undefined : await this.answerer?.prototypes();
    await this.record.evaluation(result, prototypes, () => this.seconds);
  }

  private async takeCheckpoint(result: RankResult): Promise<void> {
    const incoming = incomingFolder(this.checkpoints, result.text.path);
    const parts = {
      clock: { step: result.step, seconds: this.seconds, metricsBytes: await this.record.lastingBytes() },
      mixture: await (this.saved ?? this.state()),
      config: this.job.config,
      metrics: this.record.path,
      origin: this.options.origin,
    };
    const { keepCheckpoints } = this.job.config.train;
    await this.disk.write(() => commitCheckpoint(this.checkpoints, incoming, parts, keepCheckpoints));
  }
}
