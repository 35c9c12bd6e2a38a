import * as tf from "@tensorflow/tfjs-core";
import type { Rows } from "../bridge/room.ts";
import type { PluginConfig, TargetsConfig } from "../config/schema.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { checked, checkPrototypes } from "../plugins/checked.ts";
import { finiteScalars } from "../plugins/estimator.ts";
import type { Proposal, PrototypePlugin, TargetProposal } from "../plugins/plugin.ts";
import type { Values } from "../plugins/registry.ts";
import { isBuiltIn, openPlugin } from "../plugins/registry.ts";
import { createTargets, ownTargets, type Targets } from "../plugins/targets.ts";
import { winnersOf } from "../plugins/winners.ts";
import type { Clock, OwnSchedules } from "../schedules/schedule.ts";
import { prefixed, unprefixed } from "./prefix.ts";
import { RecentUse } from "./recent-use.ts";

export interface MixtureOptions {
  /** D. */
  dim: number;
  seed: number;
  /** Prototypes to start from, K x D. */
  start?: Rows | undefined;
  /** The values of names in the configuration, such as schedules. */
  values?: Values | undefined;
  /** Whether the scalars include "used", the share of components that have won a row recently. */
  use?: boolean;
  /** Whether it is computed on a device, where a step should read nothing. */
  device?: boolean;
  /** Called with a sentence about slow or failing operations on a device; by default a process warning. */
  warn?: (sentence: string) => void;
}

/** The parts of a mixture. `targets`: null if the plugin's side does not make them. */
export interface MixtureParts {
  plugin: PluginConfig;
  targets: TargetsConfig | null;
}

/** The result of a step. The caller disposes the targets and the tensors among the scalars. */
export interface MixtureStep {
  /** Indices of the prototypes that the step changed, ascending; "all" if it may have changed any. */
  touched: Int32Array | "all";
  /** N x K, if the mixture was opened with targets. */
  targets?: tf.Tensor2D;
  /** Scalars for the metrics: numbers, and on a device tensors. */
  scalars: Record<string, number | tf.Scalar>;
}

/** Prototypes, and which of them are in use. */
export interface PrototypesInUse {
  prototypes: Rows;
  /** K numbers: 1 if a component has won a row recently, else 0. */
  used?: Uint8Array;
}

/** The check of a batch on a device whose rows have not been read. */
export interface Guard {
  /** Whether every row is finite and not all zero. */
  ok: tf.Scalar;
  /** Reads `ok`. @throws BatchError for the first row that is not finite or all zero */
  check(): Promise<void>;
}

/** A plugin and its targets, from tensors to tensors. An edge connects it to the bridge. */
export class Mixture {
  private readonly use: RecentUse | undefined;

  private constructor(
    readonly plugin: PrototypePlugin,
    private readonly targets: Targets | null,
    use: boolean,
  ) {
    this.use = use ? new RecentUse(plugin.components) : undefined;
  }

  /** @throws UserError if the configured plugin is not available */
  static async open(parts: MixtureParts, options: MixtureOptions): Promise<Mixture> {
    const { dim, seed, start, values, device, use = false } = options;
    const opened = await openPlugin(parts.plugin, {
      dim,
      seed,
      start: start?.data,
      dense: device,
      ...values,
    });
    const { kind } = parts.plugin;
    const plugin = isBuiltIn(kind) ? opened : checked(opened, kind);
    try {
      return new Mixture(plugin, parts.targets && targetsOf(parts.targets, plugin, values?.schedules), use);
    } catch (error) {
      plugin.dispose();
      throw error;
    }
  }

  /** Checks the prototypes of a user's plugin before its first step. Built-in plugins need no check. */
  async check(): Promise<void> {
    const { name, components, dim, propose } = this.plugin;
    if (propose === undefined) await checkPrototypes(this.plugin.prototypes(), components, dim, name);
  }

  /**
   * Takes one step on `h` (N x D, rows of unit length). Everything is computed before anything is adopted, so if
   * the step throws, nothing has changed. Without a guard the rows have to be finite. With a guard nothing is read
   * unless the plugin reads: scalars are tensors, and if the guard's `ok` is false, nothing changes.
   *
   * @throws UserError if a schedule or a user's plugin is wrong; BatchError or RunError if the batch is not finite
   */
  async step(h: tf.Tensor2D, clock: Clock, guard?: Guard): Promise<MixtureStep> {
    this.targets?.check(clock);
    if (this.plugin.propose === undefined) return this.stepAtOnce(h, clock, guard);
    const proposal = await this.plugin.propose(h, clock, {
      responsibilities: this.targets?.fromResponsibilities === true,
      winners: this.use !== undefined,
    });
    return this.take(h, proposal, clock, guard);
  }

  /**
   * The prototypes (K x D) and which of them have won a row recently. The latter are missing if the mixture was
   * opened without `use`, or has taken no step. Both are read together, so that a device needs one round trip.
   */
  async prototypesInUse(): Promise<PrototypesInUse> {
    const { components: n, dim: d } = this.plugin;
    const [data, used] = await Promise.all([this.plugin.prototypes().data<"float32">(), this.use?.latest()]);
    return { prototypes: { n, d, data }, ...(used && { used }) };
  }

  async state(): Promise<NamedTensors> {
    const [plugin, targets] = await Promise.all([this.plugin.state(), this.targets?.state() ?? {}]);
    return { ...prefixed("plugin", plugin), ...prefixed("targets", targets) };
  }

  /** @throws UserError if the state does not fit; nothing has changed then */
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
    guard: Guard | undefined,
  ): Promise<MixtureStep> {
    const parts: { adopt(ok?: tf.Scalar): void; discard(): void }[] = [proposal];
    const lazy = { ...proposal.scalars };
    let made: TargetProposal | undefined;
    try {
      made = await this.targets?.propose(h, proposal, clock);
      if (made) parts.push(made);
      const use = proposal.winners && this.use?.propose(proposal.winners, clock.step);
      if (use) {
        parts.push(use);
        lazy.used = use.used;
      }
      if (!proposal.guarded) await guard?.check();
      const ok = proposal.guarded ? guard?.ok : undefined;
      const scalars = ok === undefined ? await finiteScalars(lazy) : lazy;
      const good = ok && tf.tidy(() => tf.logicalAnd<tf.Scalar>(ok, allFinite(lazy)));
      for (const part of parts) part.adopt(good);
      good?.dispose();
      return { touched: proposal.touched, scalars, ...(made && { targets: made.targets }) };
    } catch (error) {
      for (const part of parts) part.discard();
      tf.dispose([made?.targets ?? [], lazy]);
      throw error;
    } finally {
      tf.dispose([proposal.responsibilities ?? [], proposal.winners ?? []]);
    }
  }

  /** A step of a plugin that cannot propose: batch and targets are checked first, since it cannot be undone. */
  private async stepAtOnce(h: tf.Tensor2D, clock: Clock, guard: Guard | undefined): Promise<MixtureStep> {
    await guard?.check();
    const { responsibilities, touched, scalars } = await this.plugin.step(h, clock);
    const winners = this.use && winnersOf(responsibilities);
    try {
      const sources = { prototypes: this.plugin.prototypes(), responsibilities };
      const made = await this.targets?.propose(h, sources, clock);
      const use = winners && this.use?.propose(winners, clock.step);
      made?.adopt();
      use?.adopt();
      const used: Record<string, number | tf.Scalar> = use ? { used: use.used } : {};
      const lazy = guard === undefined ? await finiteScalars(used) : used;
      return { touched, scalars: { ...scalars, ...lazy }, ...(made && { targets: made.targets }) };
    } finally {
      tf.dispose([responsibilities, winners ?? []]);
    }
  }
}

function targetsOf(config: TargetsConfig, plugin: PrototypePlugin, schedules?: OwnSchedules): Targets {
  return config.from === "plugin" ? ownTargets(plugin) : createTargets(config, schedules);
}

function allFinite(scalars: Record<string, number | tf.Scalar>): tf.Scalar {
  const tensors = Object.values(scalars).filter((value) => typeof value !== "number");
  return tensors.length === 0 ? tf.scalar(true) : tf.all(tf.isFinite(tf.stack(tensors)));
}
