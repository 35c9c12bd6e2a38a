import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { z } from "zod";
import { plugin as pluginSchema } from "../../src/config/schema.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";
import { type OnlineGmmOptions, onlineGmm } from "../../src/plugins/online-gmm.ts";
import type { PrototypePlugin } from "../../src/plugins/plugin.ts";
import { generator } from "../../src/plugins/random.ts";
import { type Clock, parseSchedule } from "../../src/schedules/schedule.ts";

/** All that the settings allow. */
export const covariances = pluginSchema.shape.covariance.unwrap().options;

export type Settings = Partial<z.input<typeof pluginSchema>>;

/** Options of the mixture: the configuration's defaults, with some settings over them. */
export function options(
  settings: Settings,
  others: Partial<Pick<OnlineGmmOptions, "dim" | "seed" | "start">> = {},
): OnlineGmmOptions {
  // By default tests bring no component into use, and the prior is a number.
  const config = pluginSchema.parse({ use: { share: 0 }, prior: { strength: 10 }, ...settings });
  const { strength } = config.prior;
  const { share } = config.use;
  return {
    ...config,
    annealing: parseSchedule(config.annealing),
    prior: { strength: strength === "auto" ? strength : parseSchedule(strength) },
    use: { ...config.use, share: share === "auto" ? share : parseSchedule(share) },
    dim: 8,
    seed: 3,
    ...others,
  };
}

/** a at a step, which the options say as a number or a schedule. */
export function strengthAt({ prior: { strength } }: OnlineGmmOptions, clock: Clock): number {
  assert.ok(strength !== "auto");
  return strength(clock);
}

export function at(step: number, steps = 10): Clock {
  return { step, steps, epoch: 0 };
}

/** `count` unit rows around three directions, exact in float32. */
export function clusteredRows(count: number, dim: number, seed: number, spread = 0.6): number[][] {
  const uniform = generator(seed, "test rows");
  return Array.from({ length: count }, (_, i) => {
    const row = Array.from({ length: dim }, (_, d) => (d === i % 3 ? 1 : 0) + spread * (uniform() - 0.5));
    return unit(row);
  });
}

export function unit(row: number[]): number[] {
  const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
  return [...Float32Array.from(row, (value) => value / length)];
}

/** Saved variances (K x Q) as one for each component and dimension (K x D): each column covers D / Q dimensions in order. */
export function byDimension({ shape: [components = 0], data }: NamedTensors[string], dim: number): number[] {
  const covers = (components * dim) / data.length;
  return Array.from({ length: components * dim }, (_, at) => data[Math.floor(at / covers)] ?? Number.NaN);
}

/** One step of a plugin; what it returned, as arrays. The test's tensors are freed. */
export async function take(plugin: PrototypePlugin, rows: number[][], clock: Clock) {
  const h = tf.tensor2d(rows);
  try {
    const { responsibilities, touched, scalars } = await plugin.step(h, clock);
    const r = await responsibilities.array();
    responsibilities.dispose();
    return { r, touched, scalars };
  } finally {
    h.dispose();
  }
}

/** The rows of a saved matrix, or of a vector. */
export function matrix(state: NamedTensors, name: string): number[][] {
  const { shape, data } = state[name] ?? { shape: [0], data: new Float32Array() };
  const [rows = 0, columns = 1] = shape;
  return Array.from({ length: rows }, (_, k) => [...data.slice(k * columns, (k + 1) * columns)]);
}

/** The largest difference, as a share of the largest value that is expected (or of 1). */
export function difference(actual: readonly number[], expected: readonly number[]): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  const size = Math.max(1, ...expected.map(Math.abs));
  return Math.max(0, ...actual.map((value, at) => Math.abs(value - (expected[at] ?? Number.NaN)) / size));
}

/** A state as text that is equal only where every bit is. */
export function bits(state: NamedTensors): Record<string, string> {
  const hex = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    Buffer.from(buffer, byteOffset, byteLength).toString("hex");
  return Object.fromEntries(Object.entries(state).map(([name, { data }]) => [name, hex(data)]));
}

/** The unit vector along dimension `d` of 8, times `sign`. */
export function axis(d: number, sign = 1): number[] {
  return Array.from({ length: 8 }, (_, at) => (at === d ? sign : 0));
}

/** Makes mixtures that are disposed of after each test. */
export function mixtures(): (settings: Settings, others?: Parameters<typeof options>[1]) => PrototypePlugin {
  const made: PrototypePlugin[] = [];
  afterEach(() => {
    for (const plugin of made.splice(0)) plugin.dispose();
  });
  return (settings, others) => {
    const plugin = onlineGmm(options(settings, others));
    made.push(plugin);
    return plugin;
  };
}
