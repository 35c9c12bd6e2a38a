import * as tf from "@tensorflow/tfjs-core";
import type { Rows } from "../bridge/room.ts";
import { UserError } from "../errors.ts";
import type { StepAnswer } from "../experiment/answerer.ts";
import type { TrainingScalars } from "../experiment/training-clock.ts";

/** Target rows, N x K, row-major. */
export interface TargetRows {
  n: number;
  k: number;
  data: Float32Array;
}

/** Prototypes of unit length, row-major: those at `indices`, or all K without them. */
export interface PrototypeRows {
  d: number;
  data: Float32Array;
  indices?: Int32Array;
}

/** A loop's answer to a step. Tensors are disposed, arrays copied. */
export interface LoopAnswer {
  /** The student's targets for each row, N x K, usually distributions. */
  targets: tf.Tensor2D | TargetRows;
  /** The prototypes after the step, K x D of unit length, or those that changed; by default none. */
  rows?: tf.Tensor2D | PrototypeRows | undefined;
  /** Scalars for the metrics. */
  scalars?: Record<string, number>;
  /** Values that replace those of the schedules for this step, such as { lr: 1e-3 }. */
  clock?: Partial<TrainingScalars>;
}

const UNIT = 1e-3;

/**
 * Converts an answer to arrays, and updates `prototypes` (K x D).
 *
 * @param n rows of the step's batch
 * @throws UserError if the answer does not fit the step; `prototypes` are unchanged then
 */
export async function takeAnswer(
  { targets, rows, scalars = {}, clock = {} }: LoopAnswer,
  n: number,
  prototypes: Rows,
): Promise<StepAnswer> {
  const { n: k, d } = prototypes;
  const wanted = await arrayOf(targets);
  checkShape("targets", wanted.shape, [n, k]);
  checkFinite("targets", wanted.data, k);
  const own = definedIn(clock);
  checkNumbers("scalars", scalars);
  checkNumbers("clock", own);
  const answer = { targets: { n, k, data: wanted.data }, scalars, clock: own };
  if (rows === undefined) return answer;
  const indices = rows instanceof tf.Tensor ? undefined : rows.indices?.slice();
  const changed = await arrayOf(rows);
  checkShape("rows", changed.shape, [indices?.length ?? k, d]);
  checkFinite("rows", changed.data, d);
  checkUnit(changed.data, d);
  if (indices?.some((index) => index < 0 || index >= k)) {
    throw new UserError(`rows: an index is not below ${k}`);
  }
  for (let row = 0; row < changed.data.length / d; row++) {
    prototypes.data.set(changed.data.subarray(row * d, (row + 1) * d), (indices?.[row] ?? row) * d);
  }
  return { ...answer, rows: { d, data: changed.data, ...(indices && { indices }) } };
}

async function arrayOf(
  given: NonNullable<LoopAnswer["targets"] | LoopAnswer["rows"]>,
): Promise<{ shape: number[]; data: Float32Array }> {
  if (given instanceof tf.Tensor) {
    const data = new Float32Array(await given.data<"float32">());
    given.dispose();
    return { shape: given.shape, data };
  }
  const width = "k" in given ? given.k : given.d;
  return { shape: [given.data.length / width, width], data: given.data.slice() };
}

function checkShape(what: string, found: number[], needed: number[]): void {
  if (found.join() === needed.join()) return;
  throw new UserError(`${what}: ${found.join(" x ")} where ${needed.join(" x ")} is needed`);
}

function checkFinite(what: string, data: Float32Array, width: number): void {
  const at = data.findIndex((value) => !Number.isFinite(value));
  if (at !== -1) throw new UserError(`${what}: row ${Math.floor(at / width)} is not finite`);
}

function checkNumbers(what: string, values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isFinite(value))
      throw new UserError(`${what}: ${name} is ${value}; a finite number is needed`);
  }
}

function checkUnit(data: Float32Array, d: number): void {
  for (let row = 0; row < data.length / d; row++) {
    const length = Math.hypot(...data.subarray(row * d, (row + 1) * d));
    if (!(Math.abs(length - 1) < UNIT)) {
      throw new UserError(`rows: row ${row} is of length ${length}; prototypes are of unit length`);
    }
  }
}

function definedIn(clock: Partial<TrainingScalars>): Record<string, number> {
  const given = Object.entries(clock).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return Object.fromEntries(given);
}
