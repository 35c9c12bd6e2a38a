import * as tf from "@tensorflow/tfjs-core";
import { asDtype, type Operand } from "../datum.ts";
import type { Call, KernelTable } from "./kernel.ts";

/**
 * Kernels with indices. Indices written by JavaScript are checked here. Checking those that the device computed would
 * need a wait: out of range, they gather 0, and are ignored when scattering.
 */
export const indexing: KernelTable = {
  GatherV2: (call) => {
    const [x, indices] = [call.tensor("x"), call.tensor("indices")];
    const axis = call.axis("axis", x.shape);
    const batchDims = call.has("batchDims") ? call.number("batchDims") : 0;
    const last = (x.shape[axis] ?? 0) - 1;
    const bad = indices.dataId.values?.find((index) => index < 0 || index > last);
    if (bad !== undefined) throw call.error(`GatherV2: the index value ${bad} is not in [0, ${last}]`);
    const info = tf.backend_util.segment_util.collectGatherOpShapeInfo(x, indices, axis, batchDims);
    return call.op([x, indices], { axis, batchDims }, x.dtype, info.outputShape);
  },
  GatherNd: (call) => {
    const [params, indices] = [call.tensor("params"), call.tensor("indices")];
    const [shape] = tf.backend_util.prepareAndValidate(params, indices);
    checkIndices(call, indices, params.shape);
    return call.op([params, indices], {}, params.dtype, shape);
  },
  ScatterNd: (call) => {
    const [indices, updates] = [call.tensor("indices"), call.tensor("updates")];
    const shape = call.numbers("shape");
    tf.backend_util.calculateShapes(updates, indices, shape);
    checkIndices(call, indices, shape);
    return call.op([indices, updates], { shape }, updates.dtype, shape);
  },
  TensorScatterUpdate: (call) => {
    const [tensor, indices, updates] = [
      call.tensor("tensor"),
      call.tensor("indices"),
      call.tensor("updates"),
    ];
    tf.backend_util.calculateShapes(updates, indices, tensor.shape);
    checkIndices(call, indices, tensor.shape);
    return call.op([tensor, indices, updates], {}, tensor.dtype, tensor.shape);
  },
  SparseToDense: (call) => {
    const [indices, values] = [call.tensor("sparseIndices"), call.tensor("sparseValues")];
    const shape = call.numbers("outputShape");
    checkIndices(call, indices, shape);
    const otherwise = call.cast(call.tensor("defaultValue"), values.dtype);
    return call.op([indices, values, otherwise], { shape }, values.dtype, shape);
  },
  UnsortedSegmentSum: (call) => {
    const [x, ids] = [call.tensor("x"), call.tensor("segmentIds")];
    const numSegments = call.number("numSegments");
    const shape = [numSegments, ...x.shape.slice(ids.shape.length)];
    return call.op([x, ids], { numSegments }, x.dtype, shape);
  },
  OneHot: (call) => {
    const indices = call.tensor("indices");
    const depth = call.number("depth");
    const dtype = asDtype(call.text("dtype"), "OneHot");
    const values = ["onValue", "offValue"].map((name) => call.constant([call.number(name)], [], dtype));
    return call.op([indices, ...values], { depth }, dtype, [...indices.shape, depth]);
  },
  TopK: (call) => {
    const x = call.tensor("x");
    const k = call.number("k");
    const shape = x.shape.with(-1, k);
    return call.ops([x], { k }, [
      [x.dtype, shape],
      ["int32", shape],
    ]);
  },
  SearchSorted: (call) => {
    const [sorted, values] = [call.tensor("sortedSequence"), call.tensor("values")];
    return call.op([sorted, values], { side: call.text("side") }, "int32", values.shape);
  },
};

/** Throws if an index that JavaScript knows is out of range in a tensor of `shape`. */
function checkIndices(call: Call, indices: Operand, shape: readonly number[]): void {
  const { values } = indices.dataId;
  const depth = indices.shape.length > 1 ? (indices.shape.at(-1) ?? 1) : 1;
  if (values === undefined) return;
  for (let start = 0; start < values.length; start += depth) {
    const index = Array.from(values.subarray(start, start + depth));
    if (index.some((each, axis) => each < 0 || each >= (shape[axis] ?? 0))) {
      throw call.error(`Invalid indices: ${index} does not index into ${shape}`);
    }
  }
}
