import * as tf from "@tensorflow/tfjs-core";
import { axesOf, float, numbersOf, type Rule, type Rules } from "./rule.ts";

/** The inner part of dy, without the padding. */
const unpadded: Rule = {
  needs: ["x"],
  of: (dy, saved, { paddings }) => ({
    x: () => {
      const begin = Array.isArray(paddings) ? paddings.map((pair) => numbersOf(pair)[0] ?? 0) : [];
      return tf.slice(dy, begin, saved(0).shape);
    },
  }),
};

const reshaped = (name: string): Rule => ({
  needs: [name],
  of: (dy, saved) => ({ [name]: () => tf.reshape(dy, saved(0).shape) }),
});

/** Rules of kernels that rearrange elements. */
export const shaping: Rules = {
  Identity: { of: (dy) => ({ x: () => float(dy) }) },
  Reshape: reshaped("x"),
  ExpandDims: reshaped("input"),
  PadV2: unpadded,
  MirrorPad: unpadded,
  Reverse: { of: (dy, _, { dims }) => ({ x: () => tf.reverse(dy, axesOf(dims, dy.shape)) }) },
  Transpose: {
    of: (dy, _, { perm }) => ({
      x: () => tf.transpose(dy, tf.backend_util.getUndoAxesPermutation(numbersOf(perm))),
    }),
  },
  Concat: {
    needs: "all",
    of: (dy, saved, { axis }) => {
      const shapes = saved.all.map(({ shape }) => shape);
      const [along = 0] = axesOf(axis, shapes[0] ?? []);
      const sizes = shapes.map((shape) => shape[along] ?? 0);
      const parts = tf.split(dy, sizes, along);
      return Object.fromEntries(parts.map((part, place) => [place, () => part]));
    },
  },
  SplitV: { of: (_, __, { axis }, dys) => ({ x: () => tf.concat(dys, Number(axis)) }) },
  Pack: {
    needs: "all",
    of: (dy, _, { axis }) => {
      const parts = tf.unstack(dy, Number(axis));
      return Object.fromEntries(parts.map((part, place) => [place, () => part]));
    },
  },
  Unpack: { of: (_, __, { axis }, dys) => ({ value: () => tf.stack(dys, Number(axis)) }) },
  Slice: {
    needs: ["x"],
    of: (dy, saved, { begin, size }) => ({
      x: () => {
        const x = saved(0);
        const asked = size === undefined ? undefined : numbersOf(size);
        const [from = []] = tf.slice_util.parseSliceParams(x, numbersOf(begin), asked);
        const paddings = x.shape.map((whole, axis): [number, number] => {
          const before = from[axis] ?? 0;
          return [before, whole - before - (dy.shape[axis] ?? 0)];
        });
        return tf.pad(dy, paddings);
      },
    }),
  },
  Tile: {
    needs: ["x"],
    of: (dy, saved, { reps }) => ({
      x: () => {
        const { shape } = saved(0);
        return numbersOf(reps).reduce((sum, count, axis) => {
          const inner = product(sum.shape.slice(axis + 1));
          const size = shape[axis] ?? 1;
          const copies = tf.reshape(sum, [-1, count, size * inner]);
          return tf.reshape(tf.sum(copies, 1), sum.shape.with(axis, size));
        }, dy);
      },
    }),
  },
  GatherV2: {
    needs: ["x", "indices"],
    of: (dy, saved, { axis, batchDims }) => ({
      x: () => gathered(dy, saved(0), saved(1), Number(axis), Number(batchDims ?? 0)),
      indices: () => tf.zerosLike(float(saved(1))),
    }),
  },
  UnsortedSegmentSum: {
    needs: ["segmentIds"],
    of: (dy, saved) => ({
      x: () => {
        const ids = saved(0);
        const rows = tf.gather(dy, tf.maximum(ids, tf.scalar(0, "int32")));
        const counted = tf.greaterEqual(ids, tf.scalar(0, "int32"));
        const mask = tf.reshape(counted, [...ids.shape, ...rows.shape.slice(ids.rank).map(() => 1)]);
        return tf.where(mask, rows, tf.zerosLike(rows));
      },
    }),
  },
};

const product = (sizes: readonly number[]) => sizes.reduce((all, size) => all * size, 1);

/** Adds up, for each slice of x, the gradients of its copies. Slices are numbered batch after batch. */
function gathered(
  dy: tf.Tensor,
  x: tf.Tensor,
  indices: tf.Tensor,
  along: number,
  batchDims: number,
): tf.Tensor {
  const [axis = 0] = axesOf(along, x.shape);
  const size = x.shape[axis] ?? 0;
  const [batch, outer, inner] = [
    product(x.shape.slice(0, batchDims)),
    product(x.shape.slice(batchDims, axis)),
    product(x.shape.slice(axis + 1)),
  ];
  const count = product(indices.shape.slice(batchDims));
  const rows = tf.transpose(tf.reshape(dy, [batch, outer, count, inner]), [0, 2, 1, 3]);
  const first = tf.reshape(tf.range(0, batch * size, size, "int32"), [batch, 1]);
  const places = tf.reshape<tf.Rank.R1>(tf.add(tf.reshape(indices, [batch, count]), first), [-1]);
  const sums = tf.unsortedSegmentSum(tf.reshape(rows, [batch * count, outer, inner]), places, batch * size);
  return tf.reshape(tf.transpose(tf.reshape(sums, [batch, size, outer, inner]), [0, 2, 1, 3]), x.shape);
}
