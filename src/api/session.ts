import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../backend/backend.ts";
import type { Rows } from "../bridge/room.ts";
import { carryOut } from "../cli/carry-out.ts";
import { takesTargets } from "../config/methods.ts";
import { RunError, UserError } from "../errors.ts";
import type { StepAnswer } from "../experiment/answerer.ts";
import type { Run } from "../experiment/run-folder.ts";
import type { Summary } from "../experiment/summary.ts";
import { HostEdge } from "../mixture/host-edge.ts";
import { deviceOf } from "../mixture/open-edge.ts";
import type { NamedTensors, PrototypePlugin } from "../plugins/plugin.ts";
import { CUSTOM, openPlugin, type PluginFactory, withOptions } from "../plugins/registry.ts";
import type { Clock } from "../schedules/schedule.ts";
import { type ExperimentOptions, openArms, resolveArm } from "./experiment.ts";
import { invocation } from "./invocation.ts";
import { type LoopAnswer, type PrototypeRows, type TargetRows, takeAnswer } from "./loop-answer.ts";
import { holdForLoop, inTurn } from "./queue.ts";
import { type ExperimentResult, resultOf } from "./result.ts";
import { describeSettings, type Settings } from "./settings.ts";
import { type Asked, StepLoop } from "./step-loop.ts";

/** The arm of a session in its run. */
const ARM = "loop";

export type SessionOptions = Omit<ExperimentOptions, "seeds">;

/**
 * A training whose steps are answered by a loop of your own:
 *
 *     for await (const step of session.steps()) step.answer(await session.mixture.step(step));
 *
 * is a decoupled arm as any other. Encoder, loss, evaluation, metrics, checkpoints and report are those
 * of every run. A run that was cut short goes on after its last checkpoint.
 *
 * @throws UserError for settings that are not allowed.
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
        `method is ${config.method}, whose loss takes no targets, which a loop answers with`,
      );
    }
    const { targets, seed } = config;
    const plugin = await withOptions(config.plugin);
    // What the body of the loop does is in no record: it says that only this file can go on.
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

/** The answer of the settings' own plugin, in arrays. */
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
    /** The teacher's rows of unit length, N x D, row-major: read, never write. */
    readonly rows: Rows,
    readonly clock: Clock,
  ) {}

  /** The same as a tensor, which is disposed of when the step is over. */
  get embeddings(): tf.Tensor2D {
    this.tensor ??= tf.tensor2d(this.rows.data, [this.rows.n, this.rows.d]);
    return this.tensor;
  }

  /** Answers the step; it is sent when the body of the loop ends. @throws UserError when repeated. */
  answer(answer: LoopAnswer): void {
    if (this.given) throw new UserError(`step ${this.clock.step} is answered already: once a step`);
    this.given = answer;
  }

  /** What was answered, for the session. */
  get answered(): LoopAnswer | undefined {
    return this.given;
  }

  dispose(): void {
    this.tensor?.dispose();
  }
}

/** See `openSession`. */
export class Session {
  /** The plugin of the settings, for the standard thing in one line. It moves only where it is asked to. */
  readonly mixture: {
    readonly plugin: PrototypePlugin;
    /** One step of the plugin on the step's embeddings: prototypes and targets, as `answer` takes them. */
    step(step: SessionStep): Promise<StandardAnswer>;
  };
  /**
   * What the loop needs after a resume, such as { counts: { shape: [K], data } }: saved with every
   * checkpoint, and here again when the session goes on from one.
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

  /** The prototypes as the encoder sees them now, K x D. */
  get prototypes(): Rows {
    return this.loop.current;
  }

  /**
   * The steps that are left of the run. Leaving the loop takes a checkpoint where the step is answered,
   * and ends the worker. When the loop ends by itself the run is complete: evaluated, with its report.
   *
   * @throws UserError where a step was not answered, or its answer does not fit.
   */
  async *steps(): AsyncGenerator<SessionStep, void, undefined> {
    if (this.training) throw new UserError("a session has one loop: its steps are taken already");
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
      if (!ended) await training.catch(() => {}); // what ended the loop is what counts
      release();
    }
  }

  /** What the run gave, when its loop has ended by itself. */
  async result(): Promise<ExperimentResult<typeof ARM>> {
    if (this.training === undefined) throw new UserError("the session's loop has not begun");
    return resultOf(this.run, await this.training);
  }

  private train(leave: AbortSignal): Promise<Summary> {
    const { signal, quiet, log } = this.options;
    return carryOut(this.run, {
      signal: signal ? AbortSignal.any([signal, leave]) : leave,
      quiet,
      live: invocation().live,
      hooks: log && [log],
      open: async () => this.loop,
    });
  }

  /** What does not fit is refused, so that the run's record says of its end what the loop is told. */
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

  /** The body was left: a step that is answered is the last one, one that is not is not taken. */
  private async leave(asked: Asked, step: SessionStep): Promise<void> {
    // What ended the loop is what counts to its caller.
    if (step.answered !== undefined) return this.answer(asked, step).catch(() => {});
    asked.refuse(new UserError(`the loop was left before step ${step.clock.step} was answered`));
    step.dispose();
  }
}
