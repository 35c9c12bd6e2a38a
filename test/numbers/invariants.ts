import type { PluginConfig } from "../../src/config/schema.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";

/** What a step did, and what it left. */
export interface Taken {
  before: NamedTensors | undefined;
  after: NamedTensors;
  /** r or targets, N x K. */
  rows: Float32Array;
  /** Whether `rows` are the responsibilities, so that what had none must be as it was. */
  responsibilities: boolean;
  prototypes: Float32Array;
  scalars: Record<string, number>;
}

/** Rounding: of sums of K numbers near 1, and of steps that follow each other. */
const ROUNDING = 1e-5;
/** A smaller w counts as 0. */
const LEAST_RESPONSIBILITY = 1e-30;

/** What must hold after every step (docs/mixture.md) and does not, in a sentence; null where all holds. */
export function broken(config: PluginConfig, dim: number, taken: Taken): string | null {
  const { after, rows, prototypes, scalars } = taken;
  return (
    Object.entries(after)
      .map(([name, { data }]) => notFinite(name, data))
      .find(Boolean) ??
    notFinite("prototypes", prototypes) ??
    Object.entries(scalars)
      .map(([name, value]) => (Number.isFinite(value) ? null : `the scalar ${name} is ${value}`))
      .find(Boolean) ??
    badRows(rows, config) ??
    badCounts(config, after) ??
    badVariances(config, after) ??
    badWeights(config, after) ??
    badPrototypes(prototypes, dim) ??
    (taken.responsibilities ? badlyKept(config, taken) : null)
  );
}

function numbers(state: NamedTensors, name: string): Float32Array {
  return state[`plugin.${name}`]?.data ?? new Float32Array();
}

function notFinite(name: string, data: Float32Array): string | null {
  const at = data.findIndex((value) => !Number.isFinite(value));
  return at === -1 ? null : `${name}: number ${at} is ${data[at]}`;
}

function badRows(rows: Float32Array, { components }: PluginConfig): string | null {
  for (let start = 0; start < rows.length; start += components) {
    const row = rows.subarray(start, start + components);
    const sum = row.reduce((total, value) => total + value, 0);
    const where = `row ${start / components}`;
    if (!row.every((value) => value >= 0)) return `${where} has a share of ${Math.min(...row)} or NaN`;
    if (!(Math.abs(sum - 1) < ROUNDING)) return `${where} sums to ${sum}`;
  }
  return null;
}

function badCounts({ init, forgetting }: PluginConfig, state: NamedTensors): string | null {
  const { by, retention } = forgetting;
  const bounded = by === "responsibility" && retention < 1;
  const most = bounded ? Math.max(init.count, 1 / (1 - retention)) * (1 + ROUNDING) : Infinity;
  const wrong = numbers(state, "counts").findIndex((n) => !(n >= 0 && n <= most));
  return wrong === -1 ? null : `n of component ${wrong} is ${numbers(state, "counts")[wrong]}, bound ${most}`;
}

function badVariances({ floor }: PluginConfig, state: NamedTensors): string | null {
  const data = numbers(state, "variances");
  const wrong = data.findIndex((value) => !(value >= Math.fround(floor) && value > 0));
  return wrong === -1 ? null : `variance ${wrong} is ${data[wrong]}, floor ${floor}`;
}

function badWeights({ components }: PluginConfig, state: NamedTensors): string | null {
  const data = numbers(state, "weights");
  const sum = data.reduce((total, value) => total + value, 0);
  if (data.length !== components) return `${data.length} weights`;
  if (!(Math.abs(sum - 1) < ROUNDING)) return `the weights sum to ${sum}`;
  const least = Math.min(...data);
  return least > 0.5e-12 ? null : `a weight is ${least}`;
}

function badPrototypes(prototypes: Float32Array, dim: number): string | null {
  for (let start = 0; start < prototypes.length; start += dim) {
    const length = Math.hypot(...prototypes.subarray(start, start + dim));
    if (!(Math.abs(length - 1) < ROUNDING)) return `prototype ${start / dim} has length ${length}`;
  }
  return null;
}

/** n, s and q of a component without a share in the batch have the same bits, unless it starts again. */
function badlyKept(config: PluginConfig, { before, after, rows }: Taken): string | null {
  const { components, forgetting } = config;
  if (forgetting.by === "time" || before === undefined) return null;
  const ages = numbers(after, "ages");
  for (let k = 0; k < components; k++) {
    let w = 0;
    for (let at = k; at < rows.length; at += components) w += rows[at] ?? 0;
    if (w >= LEAST_RESPONSIBILITY || ages[k] === 0) continue;
    for (const name of ["counts", "sums", "squares"]) {
      const [old, now] = [numbers(before, name), numbers(after, name)];
      const width = old.length / components;
      for (let at = k * width; at < (k + 1) * width; at++)
        if (!Object.is(old[at], now[at]))
          return `${name} of component ${k} went from ${old[at]} to ${now[at]}, w = ${w}`;
    }
  }
  return null;
}
