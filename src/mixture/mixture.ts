import * as tf from "@tensorflow/tfjs-core";
import type { Rows } from "../bridge/room.ts";
import type { PluginConfig, TargetsConfig } from "../config/schema.ts";
import { RunError } from "../errors.ts";
import type { Values } from "../experiment/values.ts";
import { checked, checkPrototypes } from "../plugins/checked.ts";
import { finiteScalars } from "../plugins/estimator.ts";
import type { NamedTensors, Proposal, PrototypePlugin } from "../plugins/plugin.ts";
import { createPlugin, isBuiltIn } from "../plugins/registry.ts";
import { createTargets, type TargetProposal, type Targets } from "../plugins/targets.ts";
import type { Clock } from "../schedules/schedule.ts";
import { prefixed, unprefixed } from "./prefix.ts";
import { RecentUse } from "./recent-use.ts";

export interface MixtureOptions {
  /** D. */
  dim: number;
  seed: number;
  /** K x D prototypes to begin at. */
  start?: Rows | undefined;
  /** What the configuration can only name. */
  values?: Values | undefined;
  /** Whether the scalars say which share of the components has won a row of late, "used". */
  use?: boolean;
  /** Whether it is computed on a device, where a step reads nothing. */
  device?: boolean;
}

/** What a mixture is made of. `targets`: null where nobody needs them from this side. */
export interface MixtureParts {
  plugin: PluginConfig;
  targets: TargetsConfig | null;
}

/** What a step gives. Targets are the caller's to dispose of, and so are the tensors among the scalars. */
export interface MixtureStep {
  /** Indices of the prototypes that the step changed, ascending; "all" where it may have changed any. */
  touched: Int32Array | "all";
  /** N x K, where the mixture was opened with targets. */
  targets?: tf.Tensor2D;
  /** For the metrics: numbers, and on a device tensors. */
  scalars: Record<string, number | tf.Scalar>;
}

/** A plugin and the targets made with it, from tensors to tensors. An edge stands between it and the bridge. */
export class Mixture {
  private readonly use: RecentUse | undefined;

  private constructor(
    readonly plugin: PrototypePlugin,
    private readonly targets: Targets | null,
    use: boolean,
  ) {
    this.use = use ? new RecentUse(plugin.components) : undefined;
  }

  /** @throws UserError where the configuration names a plugin that cannot be had. */
  static async open(parts: MixtureParts, options: MixtureOptions): Promise<Mixture> {
    const { dim, seed, start, values, device, use = false } = options;
    const targets = parts.targets && createTargets(parts.targets, values?.schedules);
    const plugin = await createPlugin(parts.plugin, { dim, seed, start, dense: device, ...values });
    const { kind } = parts.plugin;
    return new Mixture(isBuiltIn(kind) ? plugin : checked(plugin, kind), targets, use);
  }

  /** Holds a plugin of the user's to its contract before its first step. Built-in ones need no look. */
  async check(): Promise<void> {
    const { name, components, dim, propose } = this.plugin;
    if (propose === undefined) await checkPrototypes(this.plugin.prototypes(), components, dim, name);
  }

  /** Whether a step can be decided on the device, by a tensor: the plugin says what it would change before it does. */
  get proposes(): boolean {
    return this.plugin.propose !== undefined;
  }

  /**
   * One step on `h` (N x D, finite rows of unit length). All of it is computed before any of it is taken:
   * where it throws, nothing has changed. With `ok` (a bool of the device's) nothing is read, the scalars
   * are tensors, and where `ok` is false nothing changes either.
   *
   * @throws UserError where a schedule or a plugin of the user's is wrong, RunError for a batch that is not finite.
   */
  async step(h: tf.Tensor2D, clock: Clock, ok?: tf.Scalar): Promise<MixtureStep> {
    this.targets?.check(clock);
    if (this.plugin.propose === undefined) return this.stepAtOnce(h, clock);
    const proposal = await this.plugin.propose(h, clock, {
      responsibilities: this.targets?.fromResponsibilities === true,
      winners: this.use !== undefined,
    });
    return this.take(h, proposal, clock, ok);
  }

  async state(): Promise<NamedTensors> {
    const [plugin, targets] = await Promise.all([this.plugin.state(), this.targets?.state() ?? {}]);
    return { ...prefixed("plugin", plugin), ...prefixed("targets", targets) };
  }

  /** @throws UserError, and changes nothing, where the state does not fit. */
  load(state: NamedTensors): void {
    const targets = unprefixed("targets", state);
    this.targets?.checkState(targets);
    this.plugin.load(unprefixed("plugin", state));
    this.targets?.load(targets);
    this.use?.forget();
  }

  dispose(): void {
    this.plugin.dispose();
    this.targets?.dispose();
    this.use?.dispose();
  }

  private async take(
    h: tf.Tensor2D,
    proposal: Proposal,
    clock: Clock,
    told: tf.Scalar | undefined,
  ): Promise<MixtureStep> {
    const [ok, unguarded] = proposal.guarded ? [told, undefined] : [undefined, told];
    const parts: { adopt(ok?: tf.Scalar): void; discard(): void }[] = [proposal];
    let made: TargetProposal | undefined;
    try {
      made = this.targets?.propose(h, proposal, clock);
      if (made) parts.push(made);
      const use = proposal.winners && this.use?.propose(proposal.winners, clock.step);
      if (use) parts.push(use);
      if (unguarded !== undefined) await refuse(unguarded);
      const lazy = { ...proposal.scalars, ...(use && { used: use.used }) };
      const scalars = ok === undefined ? await finiteScalars(lazy) : lazy;
      const good = ok && tf.tidy(() => tf.logicalAnd<tf.Scalar>(ok, allFinite(lazy)));
      for (const part of parts) part.adopt(good);
      good?.dispose();
      return { touched: proposal.touched, scalars, ...(made && { targets: made.targets }) };
    } catch (error) {
      for (const part of parts) part.discard();
      made?.targets.dispose();
      throw error;
    } finally {
      proposal.responsibilities?.dispose();
      proposal.winners?.dispose();
    }
  }

  /** A plugin that can only take its step: what can be wrong with the targets was looked at before. */
  private async stepAtOnce(h: tf.Tensor2D, clock: Clock): Promise<MixtureStep> {
    const { responsibilities, touched, scalars } = await this.plugin.step(h, clock);
    try {
      const sources = { prototypes: this.plugin.prototypes(), responsibilities };
      const made = this.targets?.propose(h, sources, clock);
      made?.adopt();
      const use = this.use && tf.tidy(() => tf.argMax<tf.Tensor1D>(responsibilities, 1));
      const recent = use && this.use?.propose(use, clock.step);
      recent?.adopt();
      use?.dispose();
      const used = await finiteScalars(recent ? { used: recent.used } : {});
      return { touched, scalars: { ...scalars, ...used }, ...(made && { targets: made.targets }) };
    } finally {
      responsibilities.dispose();
    }
  }
}

/** @throws RunError where `ok` is false. */
async function refuse(ok: tf.Scalar): Promise<void> {
  const [good = 0] = await ok.data();
  if (!good)
    throw new RunError(
      "bad-batch",
      "a row of the batch is not finite or all zero; the batch changed nothing",
    );
}

function allFinite(scalars: Record<string, number | tf.Scalar>): tf.Scalar {
  const tensors = Object.values(scalars).filter((value) => typeof value !== "number");
  return tensors.length === 0 ? tf.scalar(true) : tf.all(tf.isFinite(tf.stack(tensors)));
}
