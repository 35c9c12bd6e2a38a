import * as tf from "@tensorflow/tfjs-core";
import { BatchError } from "../bridge/errors.ts";
import type { Batch, Rows, Welcome } from "../bridge/room.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { guardedBatch } from "../plugins/batch.ts";
import type { Clock } from "../schedules/schedule.ts";
import type { Device } from "./device.ts";
import type { Edge, EdgeAnswer, EdgeStepOptions } from "./edge.ts";
import {
  Mixture,
  type MixtureOptions,
  type MixtureParts,
  type MixtureStep,
  type PrototypesInUse,
} from "./mixture.ts";

/** Steps between two checks that all ranks hold the same prototypes. */
const COMPARE_EVERY = 100;

/** Round trips of a step for a user's plugin that reads nothing itself: the batch and the result are checked. */
const CHECKS = 2;

/** The metrics vector of a step, which comes back one step later. */
interface Expected {
  step: number;
  /** Rows of the batch. The vector's first number is the index of the first bad row, or `n` if there is none. */
  n: number;
  /** The names of the scalars after the first number. */
  names: string[];
}

/**
 * Placement `device`: the mixture's operations run on the device of the embeddings, in every rank alike. A step
 * sends only the name of a program, a few numbers, and handles across the bridge.
 */
export class DeviceEdge implements Edge {
  readonly placement = "device";
  private expected: Expected | undefined;
  /** Whether the warning about the plugin's reads was given. */
  private told = false;

  private constructor(
    private mixture: Mixture,
    readonly device: Device,
    private readonly again: (start: Rows) => Promise<Mixture>,
    private readonly warn: (sentence: string) => void,
  ) {}

  /**
   * Opens the mixture. Nothing is computed before the ranks have joined.
   *
   * @throws UserError if the configured plugin is not available
   */
  static async open(parts: MixtureParts, options: MixtureOptions, device: Device): Promise<DeviceEdge> {
    const open = (start: Rows | undefined) =>
      device.run(() => Mixture.open(parts, { ...options, start, device: true }));
    const { warn = (sentence) => process.emitWarning(sentence) } = options;
    return new DeviceEdge(await open(options.start), device, open, warn);
  }

  async step(batch: Batch, clock: Clock, { save = () => false }: EdgeStepOptions = {}): Promise<EdgeAnswer> {
    const n = batch.announced?.n;
    if (n === undefined)
      throw new BatchError("shape", "this mixture is computed on the rank's device: announce the rows");
    const before = this.measured(batch.metrics);
    if (batch.drifted !== undefined && batch.drifted.length > 0) await this.realign(batch.drifted);
    const { run, saved, numbers } = await this.device.run(() => this.take(n, clock, save));
    return {
      scalars: { ...before.scalars, ...numbers },
      ...before.bad,
      ...(run && { run }),
      ...(saved && { saved }),
    };
  }

  private async take(n: number, clock: Clock, save: () => boolean) {
    const { device, mixture } = this;
    const rows = device.announce([n, mixture.plugin.dim]);
    const held: tf.Tensor[] = [rows];
    const waits = device.roundTrips;
    try {
      const { unit, ok, first } = guardedBatch(rows);
      held.push(unit, ok, first);
      const result = await mixture.step(unit, clock, { ok, check: () => refuseBadRow(first, n) });
      if (result.targets) held.push(result.targets);
      this.tellWaits(device.roundTrips - waits, clock.step);
      const { metrics, numbers } = this.metricsOf(first, result, clock.step, n);
      held.push(metrics);
      const saved = save() ? mixture.state() : undefined;
      saved?.catch(() => {}); // awaited when it is saved, unless the step fails before
      // The step's run returns the values. But a user's plugin may request them one after the other.
      if (mixture.plugin.propose === undefined) await saved;
      const run = device.flush({
        metrics,
        prototypes: mixture.plugin.prototypes(),
        ...(result.targets && { targets: result.targets }),
      });
      return { run, saved, numbers };
    } catch (error) {
      device.settle();
      throw error;
    } finally {
      tf.dispose(held);
    }
  }

  /** The run that makes the current prototypes on the device of a rank that joins. */
  async welcome(): Promise<Pick<Welcome, "run">> {
    return this.device.run(async () => {
      await this.mixture.check();
      const run = this.device.flush({ prototypes: this.mixture.plugin.prototypes() });
      return run === null ? {} : { run };
    });
  }

  async prototypes(): Promise<Rows> {
    const { components: n, dim: d } = this.mixture.plugin;
    return this.device.run(async () => ({
      n,
      d,
      data: await this.mixture.plugin.prototypes().data<"float32">(),
    }));
  }

  prototypesInUse(): Promise<PrototypesInUse> {
    return this.device.run(() => this.mixture.prototypesInUse());
  }

  state(): Promise<NamedTensors> {
    return this.device.run(() => this.mixture.state());
  }

  load(state: NamedTensors): void {
    this.device.run(() => this.mixture.load(state));
    this.expected = undefined;
  }

  async restart(start: Rows): Promise<void> {
    const next = await this.again(start);
    this.device.run(() => this.mixture.dispose());
    this.mixture = next;
    this.expected = undefined;
  }

  dispose(): void {
    this.device.run(() => this.mixture.dispose());
    this.device.dispose();
  }

  /** The bad row's index, the step's tensor scalars and, now and then, a checksum to compare the ranks. */
  private metricsOf(first: tf.Scalar, { scalars }: MixtureStep, step: number, n: number) {
    const entries = Object.entries(scalars);
    const lazy = entries.flatMap(([name, value]) => (typeof value === "number" ? [] : [{ name, value }]));
    const numbers = Object.fromEntries(
      entries.flatMap(([name, value]) => (typeof value === "number" ? [[name, value] as const] : [])),
    );
    const metrics = tf.tidy(() => {
      const parts: tf.Tensor[] = [first, ...lazy.map(({ value }) => value)];
      if (step % COMPARE_EVERY === 0) parts.push(checksum(this.mixture.plugin.prototypes()));
      return tf.stack(parts.map((part) => tf.reshape(part, [])));
    });
    tf.dispose(lazy.map(({ value }) => value));
    this.expected = { step, n, names: lazy.map(({ name }) => name) };
    return { metrics, numbers };
  }

  private measured(
    metrics: Float32Array | undefined,
  ): Pick<EdgeAnswer, "scalars"> & { bad: Pick<EdgeAnswer, "bad"> } {
    const { expected } = this;
    this.expected = undefined;
    if (metrics === undefined || expected === undefined) return { scalars: {}, bad: {} };
    const [row = expected.n, ...values] = metrics;
    const scalars = Object.fromEntries(expected.names.map((name, at) => [name, values[at] ?? Number.NaN]));
    if (row >= expected.n) return { scalars, bad: {} };
    return { scalars: {}, bad: { bad: { step: expected.step, row } } };
  }

  /** Warns once about the cost if a user's plugin reads values in the middle of its step. */
  private tellWaits(waits: number, step: number): void {
    const own = waits - CHECKS;
    if (this.told || this.mixture.plugin.propose !== undefined || own <= 0) return;
    this.told = true;
    this.warn(
      `plugin "${this.mixture.plugin.name}": step ${step} waited ${waits} times for values from the device, ${own} of them for values that the plugin reads and ${CHECKS} for checks of the plugin; each wait is a round trip in which the device is idle, and placement=host has none`,
    );
  }

  /** Gives rank 0's state to ranks that have drifted from it. */
  private async realign(ranks: number[]): Promise<void> {
    this.warn(`rank ${ranks.join(", ")} held other prototypes than rank 0, and is given those of rank 0`);
    await this.device.run(async () => this.mixture.load(await this.mixture.state()));
  }
}

async function refuseBadRow(first: tf.Scalar, n: number): Promise<void> {
  const [row = n] = await first.data();
  if (row < n) throw new BatchError("row", `row ${row} of the embeddings is not finite or all zero`, row);
}

/** A number that almost certainly differs if the prototypes (K x D) do. */
function checksum(prototypes: tf.Tensor2D): tf.Scalar {
  return tf.sum(tf.abs(prototypes));
}
