import * as tf from "@tensorflow/tfjs-core";
import type { Rows } from "../bridge/room.ts";
import type { PluginConfig, TargetsConfig } from "../config/schema.ts";
import type { Values } from "../experiment/values.ts";
import { checked, checkPrototypes } from "../plugins/checked.ts";
import { finiteScalars } from "../plugins/estimator.ts";
import type { NamedTensors, Proposal, PrototypePlugin } from "../plugins/plugin.ts";
import { isBuiltIn, openPlugin } from "../plugins/registry.ts";
import { createTargets, ownTargets, type TargetProposal, type Targets } from "../plugins/targets.ts";
import { winnersOf } from "../plugins/winners.ts";
import type { Clock, OwnSchedules } from "../schedules/schedule.ts";
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
  /** Told in a sentence what costs time or has gone wrong on a device; a warning of the process, where it is left out. */
  warn?: (sentence: string) => void;
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

/** Prototypes, and which of them are in use. */
export interface PrototypesInUse {
  prototypes: Rows;
  /** K numbers: 1 where a component has won a row of late, else 0. */
  used?: Uint8Array;
}

/** What a device says of a batch whose rows nobody has looked at. */
export interface Guard {
  /** Whether every row is finite and not all zero. */
  ok: tf.Scalar;
  /** Reads that. @throws BatchError for the first row that is not. */
  check(): Promise<void>;
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

  /** Holds a plugin of the user's to its contract before its first step. Built-in ones need no look. */
  async check(): Promise<void> {
    const { name, components, dim, propose } = this.plugin;
    if (propose === undefined) await checkPrototypes(this.plugin.prototypes(), components, dim, name);
  }

  /**
   * One step on `h` (N x D, rows of unit length). All of it is computed before any of it is taken: where it
   * throws, nothing has changed. Without a guard the rows are finite. With one nothing is read where the plugin
   * can do without: scalars are tensors, and where the guard's `ok` is false nothing changes either.
   *
   * @throws UserError where a schedule or a plugin of the user's is wrong, BatchError or RunError for a batch that
   * is not finite.
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
   * The prototypes (K x D), and a 1 for each of the K that has won a row of late; without these where the mixture
   * was opened without `use`, or has taken no step. Asked for together: on a device that is one round trip.
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

  /** A plugin that can only take its step: what can be wrong with the batch and the targets is looked at before. */
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
