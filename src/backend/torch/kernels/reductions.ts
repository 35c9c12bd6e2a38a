import type { Dtype } from "../../../bridge/executor-run.ts";
import type { Operand } from "../datum.ts";
import type { Call, Kernel, KernelTable } from "./kernel.ts";

interface Reduction {
  /** The dtype to which the input is cast first; default: its own. */
  from?: (dtype: Dtype) => Dtype;
  attribute?: string;
}

const asNumber = (dtype: Dtype): Dtype => (dtype === "bool" ? "int32" : dtype);

const along =
  ({ from = (dtype) => dtype, attribute = "axis" }: Reduction = {}): Kernel =>
  (call) => {
    const given = call.tensor("x");
    const axis = call.axes(attribute, given.shape);
    const x = call.cast(given, from(given.dtype));
    if (axis.length === 0) return x;
    const keepDims = call.flag("keepDims");
    return call.op([x], { axis, keepDims }, x.dtype, reduced(x.shape, axis, keepDims));
  };

function reduced(shape: readonly number[], axes: readonly number[], keepDims: boolean): number[] {
  if (keepDims) return shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  return shape.filter((_, axis) => !axes.includes(axis));
}

/** The index of a row's extreme element, the first of equal ones. */
const place: Kernel = (call) => {
  const x = call.tensor("x");
  const axis = call.axis("axis", x.shape);
  return call.op([x], { axis }, "int32", reduced(x.shape, [axis], false));
};

const running: Kernel = (call) => {
  const given = call.tensor("x");
  const x = call.cast(given, asNumber(given.dtype));
  const axis = call.axis("axis", x.shape);
  return call.op(
    [x],
    { axis, exclusive: call.flag("exclusive"), reverse: call.flag("reverse") },
    x.dtype,
    x.shape,
  );
};

export const reductions: KernelTable = {
  Sum: along({ from: asNumber }),
  Prod: along({ from: asNumber }),
  Mean: along({ from: () => "float32" }),
  Max: along({ attribute: "reductionIndices" }),
  Min: along(),
  All: along(),
  Any: along(),
  ArgMax: place,
  ArgMin: place,
  Cumsum: running,
  Cumprod: running,
  Bincount: (call) => counted(call),
  DenseBincount: (call) => {
    const x = call.tensor("x");
    if (x.shape.length <= 1) return counted(call);
    if (x.shape.length > 2)
      throw call.error(`DenseBincount: the input has rank ${x.shape.length}; allowed: at most 2`);
    const [rows = 0] = x.shape;
    return counted(call, [rows]);
  },
};

/** How often each number below `size` occurs, or the sum of its weights. Empty `weights` mean ones. */
function counted(call: Call, outer: number[] = []): Operand {
  const [x, weights] = [call.tensor("x"), call.tensor("weights")];
  const size = call.number("size");
  if (x.dataId.values?.some((value) => value < 0)) throw call.error("Input x must be non-negative!");
  const binary = call.flag("binaryOutput");
  const inputs = weights.dataId.size === 0 || binary ? [x] : [x, weights];
  return call.op(inputs, { size, binary, dtype: weights.dtype }, weights.dtype, [...outer, size], "Bincount");
}
