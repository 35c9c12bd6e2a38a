import { setImmediate as yieldToEvents } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import seedrandom from "seedrandom";

/**
 * Uniform numbers in [0, 1) that depend only on the seed and the purpose. They are the same on every
 * backend and machine, and have no state to save with a run.
 */
export function generator(seed: number, purpose: string): () => number {
  return seedrandom.alea(`${seed}/${purpose}`);
}

/** Directions that were drawn ahead, each taken once. */
const ahead = new Map<string, Float32Array>();
/** Fewer numbers than these are drawn at once: that takes some milliseconds. */
const FEW = 2 ** 16;
/** The longest time that other work waits meanwhile. */
const SLICE_MS = 2;
const ROWS_A_LOOK = 16;
let turn: Promise<unknown> = Promise.resolve();

/**
 * Draws directions in slices, one start after the other, so that large ones (2^27 numbers take a minute) do not hold
 * up a process that serves others. The next `directions` with the same arguments takes them. Returns a function that
 * discards them if they were not taken.
 */
export async function drawAhead(
  rows: number,
  dim: number,
  seed: number,
  purpose: string,
): Promise<() => void> {
  if (rows * dim <= FEW) return () => {};
  const drawn = turn.then(() => drawInSlices(rows, dim, generator(seed, purpose)));
  turn = drawn.catch(() => {});
  const key = keyOf(rows, dim, seed, purpose);
  ahead.set(key, await drawn);
  return () => void ahead.delete(key);
}

async function drawInSlices(rows: number, dim: number, uniform: () => number): Promise<Float32Array> {
  const data = new Float32Array(rows * dim);
  let began = performance.now();
  for (const row of draw(data, dim, uniform)) {
    if (row % ROWS_A_LOOK > 0 || performance.now() - began < SLICE_MS) continue;
    await yieldToEvents();
    began = performance.now();
  }
  return data;
}

function keyOf(...purpose: [rows: number, dim: number, seed: number, purpose: string]): string {
  return JSON.stringify(purpose);
}

/** `rows` directions, uniform on the unit sphere of R^dim: normalised Gaussian vectors. */
export function directions(rows: number, dim: number, seed: number, purpose: string): tf.Tensor2D {
  const key = keyOf(rows, dim, seed, purpose);
  let data = ahead.get(key);
  if (data === undefined) {
    data = new Float32Array(rows * dim);
    for (const _ of draw(data, dim, generator(seed, purpose)));
  } else ahead.delete(key);
  return tf.tensor2d(data, [rows, dim]);
}

/** Fills the rows of `data` one by one, and gives the number of each. */
function* draw(data: Float32Array, dim: number, uniform: () => number): Generator<number> {
  for (let start = 0; start < data.length; start += dim) {
    const vector = data.subarray(start, start + dim);
    let squared = 0;
    while (squared === 0) {
      for (let at = 0; at < dim; at++) vector[at] = normal(uniform);
      squared = vector.reduce((sum, value) => sum + value * value, 0);
    }
    const length = Math.sqrt(squared);
    for (let at = 0; at < dim; at++) vector[at] = (vector[at] ?? 0) / length;
    yield start / dim;
  }
}

/** `count` different numbers below `size`, ascending. */
export function sample(count: number, size: number, uniform: () => number): number[] {
  const chosen: number[] = [];
  for (let candidate = 0; candidate < size && chosen.length < count; candidate++) {
    // Selection sampling (Knuth's algorithm S): all subsets are equally likely.
    if (uniform() * (size - candidate) < count - chosen.length) chosen.push(candidate);
  }
  return chosen;
}

/** A standard normal number (Box and Muller). */
function normal(uniform: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
