import * as tf from "@tensorflow/tfjs-core";
import { keysOf } from "../../files/keys.ts";

/**
 * The tensors of the mixture's components, or of some of them: a row each. R is the number of rows, Q the number of
 * squares that the covariance keeps: none (shared), 1 (spherical) or D (diagonal). All of them are gathered, updated,
 * saved and restored.
 *
 * `optional`: some mixtures have none. `fixed`: no step changes it.
 */
const TENSORS = {
  /** n (R x 1), the effective count. */
  counts: {},
  /** s (R x D), the effective sum of embeddings. */
  sums: {},
  /** q (R x Q), the effective sum of squares. */
  squares: { optional: true },
  /** m (R x D), where the prior pulls each; undefined without a prior. */
  starts: { optional: true, fixed: true },
  /** mu (R x D); undefined if nothing needs it at every step, since it follows from the others (see `meansOf`). */
  means: { optional: true },
  /** sigma2 (R x Q). */
  variances: { optional: true },
  /** c = mu / |mu| (R x D), the prototypes. */
  prototypes: {},
  /** pi (R x 1); 1 / K each if weights are uniform. */
  weights: {},
  /** Steps since each last won a row (R x 1), at most NEVER; undefined if none starts again. */
  ages: { optional: true },
} as const satisfies Record<string, { optional?: true; fixed?: true }>;

type Tensors = typeof TENSORS;
type Name = keyof Tensors;
type Optional = { [name in Name]: Tensors[name] extends { optional: true } ? name : never }[Name];

/** Tensors by their name in TENSORS. Nothing is written in place: a step makes new tensors. */
export type Components = { [name in Exclude<Name, Optional>]: tf.Tensor2D } & {
  [name in Optional]: tf.Tensor2D | undefined;
};

/** Components with the tensor that `tensor` gives for each name. @throws TypeError if one is missing that all have */
export function componentsOf(tensor: (name: Name) => tf.Tensor2D | undefined): Components {
  const made: Partial<Record<Name, tf.Tensor2D | undefined>> = {};
  for (const name of keysOf(TENSORS)) made[name] = tensor(name);
  assertWhole(made);
  return made;
}

function assertWhole(made: Partial<Record<Name, tf.Tensor2D | undefined>>): asserts made is Components {
  for (const name of keysOf(TENSORS))
    if (made[name] === undefined && !("optional" in TENSORS[name]))
      throw new TypeError(`the components have no ${name}`);
}

/** The age of a component that has not won a row yet. */
export const NEVER = 2 ** 20;

/** The rows with the given indices. */
export function gatherRows(all: Components, indices: tf.Tensor1D): Components {
  return componentsOf((name) => all[name] && tf.gather(all[name], indices));
}

/** `all` with the rows at the given indices replaced. Every other row keeps its bits. */
export function scatterRows(all: Components, indices: tf.Tensor1D, rows: Components): Components {
  const places = tf.reshape(indices, [-1, 1]);
  return componentsOf((name) => {
    const [into, updates] = [all[name], rows[name]];
    if ("fixed" in TENSORS[name]) return into;
    return into && updates && tf.tensorScatterUpdate(into, places, updates);
  });
}

/** The tensors that are there, by name. */
export function present(components: Components): Record<string, tf.Tensor2D> {
  const tensors: [string, tf.Tensor2D | undefined][] = Object.entries(components);
  return Object.fromEntries(
    tensors.flatMap(([name, tensor]) => (tensor === undefined ? [] : [[name, tensor]])),
  );
}

/** Frees the tensors of `old` that none of `others` holds. */
export function disposeAllBut(old: Components, ...others: Components[]): void {
  const kept = new Set(others.flatMap((each) => Object.values(present(each))));
  for (const tensor of Object.values(present(old))) if (!kept.has(tensor)) tensor.dispose();
}
