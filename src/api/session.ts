import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../backend/backend.ts";
import type { Rows } from "../bridge/room.ts";
import { takesTargets } from "../config/methods.ts";
import { RunError, UserError } from "../errors.ts";
import type { StepAnswer } from "../experiment/answerer.ts";
import type { Run } from "../experiment/run-folder.ts";
import type { Summary } from "../experiment/summary.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { HostEdge } from "../mixture/host-edge.ts";
import { deviceOf } from "../mixture/open-edge.ts";
import type { PrototypePlugin } from "../plugins/plugin.ts";
import { CUSTOM, openPlugin, type PluginFactory, withOptions } from "../plugins/registry.ts";
import type { Clock } from "../schedules/schedule.ts";
import { runToEnd } from "../terminal/run-to-end.ts";
import { resolveArm } from "./arms.ts";
import { type ExperimentOptions, openArms } from "./experiment.ts";
import { invocation } from "./invocation.ts";
import { type LoopAnswer, type PrototypeRows, type TargetRows, takeAnswer } from "./loop-answer.ts";
import { holdForLoop, inTurn } from "./queue.ts";
import { type ExperimentResult, resultOf } from "./result.ts";
import { describeSettings, type Settings } from "./settings.ts";
import { type Asked, StepLoop } from "./step-loop.ts";

/** The name of a session's arm. */
const ARM = "loop";

export type SessionOptions = Omit<ExperimentOptions, "seeds">;

/**
 * Opens a training whose steps your own loop answers. The loop
 *
 *     for await (const step of session.steps()) step.answer(await session.mixture.step(step));
 *
 * equals an ordinary decoupled arm. Encoder, loss, evaluation, metrics, checkpoints and report are the
 * same as in every run. A run that was interrupted continues after its last checkpoint.
 *
 * @throws UserError for settings that are not allowed
 */
export function openSession(settings: Settings, options: SessionOptions = {}): Promise<Session> {
  return inTurn(async () => {
    const [, config, values] = resolveArm(describeSettings({}), ARM, settings);
    if (config.prototypes !== "decoupled") {
      throw new UserError(
        `prototypes is ${config.prototypes}; only a decoupled arm sends embeddings, which a loop needs`,
      );
    }
    if (!takesTargets(config)) {
      throw new UserError(
        `method is ${config.method}, whose loss takes no targets, but a loop answers with targets`,
      );
    }
    const { targets, seed } = config;
    const plugin = await withOptions(config.plugin);
    // No record has the body of the loop, so the record's kind says that only this file can resume the run.
    const kind = `${CUSTOM}a loop around ${plugin.kind}`;
    const factory: PluginFactory = (asked) =>
      openPlugin(plugin, { dim: asked.dim, seed: asked.seed, ...values });
    const recorded = { ...config, plugin: { ...plugin, kind } };
    const run = await openArms([[ARM, recorded, { ...values, factory }]], options);
    await openBackend(config.backend);
    const device = config.placement === "device" ? deviceOf(config.bridge) : undefined;
    const parts = { plugin, targets };
    const loop = new StepLoop(await HostEdge.open(parts, { dim: config.head.dim, seed, values }, device));
    if (device === undefined) await loop.begin();
    return new Session(run, loop, options);
  });
}

/** The answer of the configured plugin, in arrays. */
export interface StandardAnswer extends LoopAnswer {
  targets: TargetRows;
  rows: PrototypeRows;
  scalars: Record<string, number>;
}

/** One step of a session: embeddings in, an answer out. */
export class SessionStep {
  private tensor: tf.Tensor2D | undefined;
  private given: LoopAnswer | undefined;

  constructor(
    /** The teacher's rows of unit length, N x D, row-major. Do not write to them. */
    readonly rows: Rows,
    readonly clock: Clock,
  ) {}

  /** The same as a tensor, which is disposed at the end of the step. */
  get embeddings(): tf.Tensor2D {
    this.tensor ??= tf.tensor2d(this.rows.data, [this.rows.n, this.rows.d]);
    return this.tensor;
  }

  /** Answers the step. The answer is sent when the body of the loop ends. @throws UserError if called twice */
  answer(answer: LoopAnswer): void {
    if (this.given)
      throw new UserError(`step ${this.clock.step} is answered already; allowed: once per step`);
    this.given = answer;
  }

  /** The given answer, for the session. */
  get answered(): LoopAnswer | undefined {
    return this.given;
  }

  dispose(): void {
    this.tensor?.dispose();
  }
}

/** See `openSession`. */
export class Session {
  /** The configured plugin, for the standard step in one line. It changes only when its `step` is called. */
  readonly mixture: {
    readonly plugin: PrototypePlugin;
    /** Takes a step of the plugin on the step's embeddings. The result can be passed to `answer`. */
    step(step: SessionStep): Promise<StandardAnswer>;
  };
  /**
   * Data that the loop needs after a resume, such as { counts: { shape: [K], data } }. It is saved with
   * every checkpoint, and restored when the session resumes from one.
   */
  readonly memory: NamedTensors;
  private training: Promise<Summary> | undefined;

  constructor(
    private readonly run: Run,
    private readonly loop: StepLoop,
    private readonly options: SessionOptions,
  ) {
    const { mixture } = loop;
    this.memory = loop.memory;
    this.mixture = {
      plugin: mixture.mixture.plugin,
      step: async ({ rows: given, clock }) => {
        const { rows, targets, scalars } = await mixture.step({ rows: given }, clock);
        if (targets === undefined) throw new RunError("internal", "a mixture without targets");
        return { rows, targets, scalars };
      },
    };
  }

  /** The prototypes that the encoder uses now, K x D. */
  get prototypes(): Rows {
    return this.loop.current;
  }

  /**
   * The remaining steps of the run. Leaving the loop early ends the worker, with a checkpoint if the
   * step is answered. When the loop ends by itself, the run is complete, with evaluation and report.
   *
   * @throws UserError if a step was not answered, or if its answer does not fit
   */
  async *steps(): AsyncGenerator<SessionStep, void, undefined> {
    if (this.training) throw new UserError("a session has only one loop, and it has begun already");
    const release = await holdForLoop();
    const leave = new AbortController();
    const training = this.train(leave.signal);
    this.training = training;
    let under: { asked: Asked; step: SessionStep } | undefined;
    let ended = false;
    training.catch(() => {}); // awaited below, whatever happens first
    try {
      for (;;) {
        const asked = await Promise.race([this.loop.next(), training.then(() => null)]);
        if (asked === null) break;
        const step = new SessionStep(asked.rows, asked.clock);
        under = { asked, step };
        yield step;
        under = undefined;
        await this.answer(asked, step);
      }
      ended = true;
    } finally {
      leave.abort();
      if (under !== undefined) await this.leave(under.asked, under.step);
      if (!ended) await training.catch(() => {}); // the error that ended the loop takes precedence
      release();
    }
  }

  /** The result of the run, after its loop has ended by itself. */
  async result(): Promise<ExperimentResult<typeof ARM>> {
    if (this.training === undefined) throw new UserError("the session's loop has not begun");
    return resultOf(this.run, await this.training);
  }

  private train(leave: AbortSignal): Promise<Summary> {
    const { signal, quiet, log } = this.options;
    return runToEnd(this.run, {
      signal: signal ? AbortSignal.any([signal, leave]) : leave,
      quiet,
      live: invocation().live,
      hooks: log && [log],
      open: async () => this.loop,
    });
  }

  /** Sends the answer of a step. An invalid one is refused, so that the run's record has the same error as the loop. */
  private async answer(asked: Asked, step: SessionStep): Promise<void> {
    try {
      asked.answer(await this.taken(asked, step));
    } catch (error) {
      asked.refuse(error instanceof Error ? error : new RunError("internal", String(error)));
      throw error;
    } finally {
      step.dispose();
    }
  }

  private async taken({ rows }: Asked, { clock, answered }: SessionStep): Promise<StepAnswer> {
    if (answered === undefined) {
      throw new UserError(
        `step ${clock.step} was not answered: call step.answer({ targets, ... }) in the body of the loop`,
      );
    }
    try {
      return await takeAnswer(answered, rows.n, this.loop.current);
    } catch (error) {
      throw error instanceof UserError ? new UserError(`step ${clock.step}: ${error.message}`) : error;
    }
  }

  /** Handles a loop that was left early. A step that was answered is the last one; otherwise it is not taken. */
  private async leave(asked: Asked, step: SessionStep): Promise<void> {
    // The error that ended the loop takes precedence.
    if (step.answered !== undefined) return this.answer(asked, step).catch(() => {});
    asked.refuse(new UserError(`the loop was left before step ${step.clock.step} was answered`));
    step.dispose();
  }
}
