import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../errors.ts";
import type { NamedTensors } from "../files/tensors.ts";

/** Reads tensors for a checkpoint. All are read at once, so that a device needs one round trip. */
export async function save(tensors: Record<string, tf.Tensor>): Promise<NamedTensors> {
  const saved = Object.entries(tensors).map(async ([name, tensor]) => {
    return [name, { shape: Array.from<number>(tensor.shape), data: await tensor.data<"float32">() }] as const;
  });
  return Object.fromEntries(await Promise.all(saved));
}

/**
 * Checks that a saved state has exactly the names and shapes of `like`. `what` names it in error messages.
 *
 * @throws UserError if it does not fit
 */
export function checkSaved(
  state: NamedTensors,
  like: Record<string, { shape: number[] }>,
  what: string,
): void {
  const unknown = Object.keys(state).find((name) => !(name in like));
  if (unknown !== undefined) throw new UserError(`the saved state has ${unknown}, which ${what} lacks`);
  for (const [name, { shape }] of Object.entries(like)) {
    const found = state[name];
    if (found === undefined) throw new UserError(`the saved state has no ${name}, which ${what} needs`);
    if (found.shape.join() === shape.join()) continue;
    throw new UserError(
      `the saved ${name} have shape ${found.shape.join(" x ")}; ${what} needs ${shape.join(" x ")}`,
    );
  }
}

/** Makes a matrix of a saved state that was checked. */
export function restored(state: NamedTensors, name: string): tf.Tensor2D {
  const saved = state[name];
  const [rows, columns] = saved?.shape ?? [];
  if (saved === undefined || rows === undefined || columns === undefined)
    throw new TypeError(`no matrix ${name}`);
  return tf.tensor2d(saved.data, [rows, columns]);
}
