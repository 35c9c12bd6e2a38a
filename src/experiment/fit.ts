import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as yieldToEvents } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import type { Config } from "../config/schema.ts";
import { fileError } from "../files/errors.ts";
import type { Vectors } from "../files/rows.ts";
import { writeSafetensors } from "../files/safetensors.ts";
import { geometryInUse } from "../metrics/uniqueness.ts";
import { usage } from "../metrics/usage.ts";
import { prefixed } from "../mixture/prefix.ts";
import type { PrototypePlugin } from "../plugins/plugin.ts";
import type { Clock } from "../schedules/schedule.ts";

/** A line of the metrics.jsonl that `fit` writes. */
export interface FitMeasurement {
  /** Steps taken. */
  step: number;
  beta: number;
  unique: Record<string, number>;
  /** Share of components that had the largest h . c for at least one row since the epoch began. */
  used: number;
  /** Of these alone, the share of all components that uniqueness' cover keeps. */
  distinctUsed: Record<string, number>;
}

export interface FitOptions {
  fit: Config["fit"];
  plugin: PrototypePlugin;
  embeddings: Vectors;
  /** The folder for mixture.safetensors, state.safetensors and metrics.jsonl. */
  out: string;
  progress(step: number, steps: number): void;
  signal: AbortSignal;
}

/**
 * The plugin alone over saved embeddings: `epochs` passes in file order, in batches of `batch`, the
 * last one partial. Measures every `measureEvery` steps and at the end. When `signal` aborts it
 * ends after the current step. Writes the estimates, for other programs, and the plugin's whole state, from which a head
 * can continue.
 */
export async function fitPlugin({
  fit,
  plugin,
  embeddings,
  out,
  progress,
  signal,
}: FitOptions): Promise<FitMeasurement> {
  const perEpoch = Math.ceil(embeddings.rows / fit.batch);
  const steps = perEpoch * fit.epochs;
  const log = join(out, "metrics.jsonl");
  try {
    await mkdir(out, { recursive: true });
    await writeFile(log, "");
  } catch (error) {
    throw fileError("write", log, error);
  }
  const wins = new Int32Array(plugin.components);
  for (let step = 0; ; step++) {
    const at = step % perEpoch;
    if (at === 0) wins.fill(0);
    const clock: Clock = { step, steps, epoch: Math.floor(step / perEpoch) };
    const beta = await fitStep(plugin, batchOf(embeddings, at * fit.batch, fit.batch), clock, wins);
    progress(step + 1, steps);
    // Numbers come from a tensor without a turn of the event loop: no signal would ever arrive.
    await yieldToEvents();
    const end = step + 1 === steps || signal.aborted;
    if (!end && (step + 1) % fit.measureEvery !== 0) continue;
    const prototypes = {
      rows: plugin.components,
      dim: plugin.dim,
      data: await plugin.prototypes().data<"float32">(),
    };
    const { unique, distinctUsed } = await geometryInUse(prototypes, wins);
    const measurement = { step: step + 1, beta, unique, used: usage(wins).used, distinctUsed };
    await appendFile(log, `${JSON.stringify(measurement)}\n`);
    if (!end) continue;
    await writeSafetensors(join(out, "mixture.safetensors"), await plugin.parameters());
    await writeSafetensors(join(out, "state.safetensors"), prefixed("plugin", await plugin.state()));
    return measurement;
  }
}

/** One step; counts which prototypes are nearest to the batch's rows after it. Returns beta. */
async function fitStep(
  plugin: PrototypePlugin,
  batch: Vectors,
  clock: Clock,
  wins: Int32Array,
): Promise<number> {
  const h = tf.tensor2d(batch.data, [batch.rows, batch.dim]);
  const { responsibilities, scalars } = await plugin.step(h, clock);
  const nearest = tf.tidy(() => tf.argMax(tf.matMul(h, tf.transpose(plugin.prototypes())), 1));
  for (const k of await nearest.data<"int32">()) wins[k] = (wins[k] ?? 0) + 1;
  tf.dispose([h, responsibilities, nearest]);
  return scalars.beta ?? 1;
}

function batchOf({ rows, dim, data }: Vectors, start: number, size: number): Vectors {
  const end = Math.min(rows, start + size);
  return { rows: end - start, dim, data: data.subarray(start * dim, end * dim) };
}
