import * as tf from "@tensorflow/tfjs-core";
import { describe, type Operand, sizeOf } from "../datum.ts";
import type { Call, Kernel, KernelTable } from "./kernel.ts";

/** The same data in another shape, without queueing anything. */
const named = (x: Operand, shape: number[]): Operand => ({ ...x, shape });

const joined: Kernel = (call) => {
  const tensors = call.tensors();
  const [first] = tensors;
  if (first === undefined) throw call.error("Concat needs a tensor");
  const axis = call.axis("axis", first.shape);
  const shapes = tensors.map(({ shape }) => shape);
  tf.backend_util.assertParamsConsistent(shapes, axis);
  const shape = tf.backend_util.computeOutShape(shapes, axis);
  const same = tensors.map((each) => call.cast(each, first.dtype));
  return call.op(same, { axis }, first.dtype, shape);
};

export const shaping: KernelTable = {
  Identity: (call) => call.tensor("x"),
  Reshape: (call) => {
    const x = call.tensor("x");
    const shape = tf.util.inferFromImplicitShape(call.numbers("shape"), sizeOf(x.shape));
    if (sizeOf(shape) !== sizeOf(x.shape)) {
      throw call.error(
        `The new shape (${shape}) has ${sizeOf(shape)} elements and the old shape (${x.shape}) has ${sizeOf(x.shape)} elements. The new shape and old shape must have the same number of elements.`,
      );
    }
    return named(x, shape);
  },
  ExpandDims: (call) => {
    const x = call.tensor("input");
    const dim = call.number("dim");
    const rank = x.shape.length;
    if (dim < -(rank + 1) || dim > rank)
      throw call.error(`Axis must be in the interval [${-(rank + 1)}, ${rank}]`);
    return named(x, x.shape.toSpliced(dim < 0 ? rank + dim + 1 : dim, 0, 1));
  },
  Concat: joined,
  Pack: (call) => {
    const tensors = call.tensors();
    const [first] = tensors;
    if (first === undefined) throw call.error("Pack needs a tensor");
    for (const each of tensors) {
      tf.util.assertShapesMatch(
        first.shape,
        each.shape,
        "All tensors passed to stack must have matching shapes",
      );
      if (each.dtype !== first.dtype)
        throw call.error("All tensors passed to stack must have matching dtypes");
    }
    const rank = first.shape.length;
    const axis = call.number("axis") < 0 ? call.number("axis") + rank + 1 : call.number("axis");
    return call.op(tensors, { axis }, first.dtype, first.shape.toSpliced(axis, 0, tensors.length));
  },
  Unpack: (call) => {
    const x = call.tensor("value");
    const axis = call.axis("axis", x.shape);
    const shape = x.shape.toSpliced(axis, 1);
    const count = x.shape[axis] ?? 0;
    return call.ops(
      [x],
      { axis },
      new Array<null>(count).fill(null).map(() => [x.dtype, shape]),
    );
  },
  SplitV: (call) => {
    const x = call.tensor("x");
    const axis = call.axis("axis", x.shape);
    const wanted = call.numbers("numOrSizeSplits");
    const [count = 0] = wanted;
    const asked = Array.isArray(call.value("numOrSizeSplits")) ? wanted : count;
    const sizes = tf.backend_util.prepareSplitSize(x, asked, axis);
    return call.ops(
      [x],
      { axis, sizes },
      sizes.map((size) => [x.dtype, x.shape.with(axis, size)]),
    );
  },
  Slice: (call) => {
    const x = call.tensor("x");
    const asked = call.has("size") ? call.numbers("size") : undefined;
    const [begin = [], size = []] = tf.slice_util.parseSliceParams(x, call.numbers("begin"), asked);
    tf.slice_util.assertParamsValid(x, begin, size);
    return sliced(call, x, begin, size);
  },
  StridedSlice: (call) => {
    const x = call.tensor("x");
    const mask = (name: string) => (call.has(name) ? call.number(name) : 0);
    const info = tf.slice_util.sliceInfo(
      x.shape,
      call.numbers("begin"),
      call.numbers("end"),
      call.numbers("strides"),
      mask("beginMask"),
      mask("endMask"),
      mask("ellipsisMask"),
      mask("newAxisMask"),
      mask("shrinkAxisMask"),
    );
    const { begin, end, strides, finalShape } = info;
    if (sizeOf(finalShape) === 0) return call.constant([], finalShape, x.dtype);
    if (info.isIdentity) return named(x, finalShape);
    const size = tf.slice_util.computeOutShape(begin, end, strides);
    if (strides.every((stride) => stride === 1)) return named(sliced(call, x, begin, size), finalShape);
    return named(call.op([x], { begin, size, strides }, x.dtype, size), finalShape);
  },
  Tile: (call) => {
    const x = call.tensor("x");
    const reps = call.numbers("reps");
    return call.op(
      [x],
      { reps },
      x.dtype,
      x.shape.map((size, axis) => size * (reps[axis] ?? 1)),
    );
  },
  PadV2: (call) => {
    const x = call.tensor("x");
    const paddings = call.pairs("paddings");
    const value = call.constant([call.number("constantValue")], [], x.dtype);
    return call.op([x, value], { paddings }, x.dtype, padded(x, paddings));
  },
  MirrorPad: (call) => {
    const x = call.tensor("x");
    const paddings = call.pairs("paddings");
    return call.op([x], { paddings, mode: call.text("mode") }, x.dtype, padded(x, paddings));
  },
  Reverse: (call) => {
    const x = call.tensor("x");
    const dims = call.axes("dims", x.shape);
    return dims.length === 0 ? x : call.op([x], { dims }, x.dtype, x.shape);
  },
  Transpose: (call) => {
    const x = call.tensor("x");
    const perm = call.numbers("perm");
    const shape = perm.map((axis) => {
      const size = x.shape[axis];
      if (size === undefined) throw call.error(`Transpose: ${describe(x)} has no axis ${axis}`);
      return size;
    });
    return call.op([x], { perm }, x.dtype, shape);
  },
};

function sliced(call: Call, x: Operand, begin: number[], size: number[]): Operand {
  return call.op([x], { begin, size }, x.dtype, size, "Slice");
}

function padded({ shape }: Operand, paddings: readonly [number, number][]): number[] {
  return shape.map((size, axis) => {
    const [before, after] = paddings[axis] ?? [0, 0];
    return before + size + after;
  });
}
