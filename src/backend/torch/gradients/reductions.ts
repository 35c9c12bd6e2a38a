import * as tf from "@tensorflow/tfjs-core";
import { axesOf, flat, float, type Rule, type Rules } from "./rule.ts";

/** A reduced tensor with the reduced axes restored at length 1. */
function kept(y: tf.Tensor, axes: readonly number[], shape: readonly number[]): tf.Tensor {
  return tf.reshape(
    y,
    shape.map((size, axis) => (axes.includes(axis) ? 1 : size)),
  );
}

/** Passes dy to each extreme element; equal elements all get it. */
const extreme = (attribute: string): Rule => ({
  needs: ["x"],
  needsResult: true,
  of: (dy, saved, attributes) => ({
    x: () => {
      const [x, y] = [saved(0), saved(1)];
      const axes = axesOf(attributes[attribute], x.shape);
      const chosen = tf.equal(x, kept(y, axes, x.shape));
      return tf.mul(kept(dy, axes, x.shape), float(chosen));
    },
  }),
});

export const reductions: Rules = {
  Sum: {
    needs: ["x"],
    of: (dy, saved, { axis }) => ({
      x: () => {
        const { shape } = saved(0);
        return tf.mul(kept(dy, axesOf(axis, shape), shape), tf.ones(shape));
      },
    }),
  },
  Mean: {
    needs: ["x"],
    of: (dy, saved, { axis }) => ({
      x: () => {
        const { shape } = saved(0);
        const axes = axesOf(axis, shape);
        const count = axes.reduce((product, each) => product * (shape[each] ?? 1), 1);
        return tf.mul(kept(dy, axes, shape), tf.fill(shape, 1 / count));
      },
    }),
  },
  Prod: {
    needs: ["x"],
    of: (dy, saved, { axis }) => ({
      x: () => {
        // The gradient of an element is the product of those before it and those after it. This also works with zeros.
        const x = float(saved(0));
        const axes = axesOf(axis, x.shape).sort((a, b) => a - b);
        const others = x.shape.flatMap((_, each) => (axes.includes(each) ? [] : [each]));
        const order = [...others, ...axes];
        const turned = tf.transpose(x, order);
        const rows = tf.reshape(turned, [...others.map((each) => x.shape[each] ?? 1), -1]);
        const last = rows.rank - 1;
        const rest = tf.mul(tf.cumprod(rows, last, true, false), tf.cumprod(rows, last, true, true));
        const spread = tf.mul(tf.reshape(dy, [...rows.shape.slice(0, -1), 1]), rest);
        return tf.transpose(tf.reshape(spread, turned.shape), tf.backend_util.getUndoAxesPermutation(order));
      },
    }),
  },
  Max: extreme("reductionIndices"),
  Min: extreme("axis"),
  ArgMax: flat("x"),
  ArgMin: flat("x"),
  Cumsum: {
    needs: ["x"],
    of: (dy, _, { axis, exclusive, reverse }) => ({
      x: () => tf.cumsum(dy, Number(axis), exclusive === true, reverse !== true),
    }),
  },
};
