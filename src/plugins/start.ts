import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../errors.ts";
import { rowLengths } from "../files/rows.ts";
import { directions } from "./random.ts";

export interface StartOptions {
  components: number;
  dim: number;
  seed: number;
  /** Rows to start from, K x D, such as a checkpoint's prototypes. */
  start?: Float32Array | undefined;
}

/**
 * The initial prototypes (K x D): the given rows, or else random directions, uniform on the sphere.
 *
 * @throws UserError if the given rows are not K x D, or one is not finite or all zero
 */
export function startRows({ components, dim, seed, start }: StartOptions): tf.Tensor2D {
  if (start === undefined) return directions(components, dim, seed, "directions");
  if (start.length !== components * dim) {
    throw new UserError(
      `the given prototypes are ${start.length} numbers; ${components} components of dimension ${dim} need ${components * dim}`,
    );
  }
  rowLengths(start, dim, "the given prototypes");
  // Adding 0 turns -0 into 0, so that adding 0 in a later step changes no bit, not even the sign of a zero.
  return tf.tidy(() => tf.add(tf.tensor2d(start, [components, dim]), 0));
}

/** The length of each row, R x 1. */
export function lengths(x: tf.Tensor2D): tf.Tensor2D {
  return tf.sqrt(tf.sum(tf.square(x), 1, true));
}
