import * as tf from "@tensorflow/tfjs-core";
import type { Dtype } from "../../../bridge/executor-run.ts";
import type { Operand } from "../datum.ts";
import type { Call, Kernel, KernelTable } from "./kernel.ts";

/** A function of pairs of elements, with broadcasting. The result has dtype `type`, by default the first operand's. */
const pairwise =
  (dtype?: Dtype): Kernel =>
  (call) => {
    const [a, b] = [call.tensor("a"), call.tensor("b")];
    return ofPair(call, a, b, dtype ?? a.dtype);
  };

function ofPair(call: Call, a: Operand, b: Operand, dtype: Dtype, kernel = call.kernel): Operand {
  return call.op([a, b], {}, dtype, broadcast(a, b), kernel);
}

/** The shape of two broadcast operands. Throws tfjs's own error if they are incompatible. */
export function broadcast(a: { shape: number[] }, b: { shape: number[] }): number[] {
  return tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
}

const SAME = ["Add", "Sub", "Multiply", "RealDiv", "Mod", "Maximum", "Minimum", "SquaredDifference", "Atan2"];
const COMPARISONS = ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"];

export const binary: KernelTable = {
  ...Object.fromEntries(SAME.map((name) => [name, pairwise()])),
  ...Object.fromEntries(COMPARISONS.map((name) => [name, pairwise("bool")])),
  BitwiseAnd: pairwise("int32"),
  FloorDiv: pairwise("int32"),
  LogicalAnd: pairwise("bool"),
  LogicalOr: pairwise("bool"),
  Pow: (call) => {
    const [a, b] = [call.tensor("a"), call.tensor("b")];
    const { values, size } = b.dataId;
    // tf.norm squares in this way, and the general power is many times slower.
    if (size === 1 && values?.[0] === 2 && b.shape.length <= a.shape.length) {
      return call.op([a], {}, a.dtype, a.shape, "Square");
    }
    return ofPair(call, a, b, a.dtype);
  },
  Prelu: (call) => ofPair(call, call.tensor("x"), call.tensor("alpha"), "float32"),
  EluGrad: (call) => ofPair(call, call.tensor("dy"), call.tensor("y"), "float32"),
  AddN: (call) => {
    const [first, ...others] = call.tensors();
    if (first === undefined) throw call.error("AddN needs a tensor");
    return others.reduce((sum, each) => ofPair(call, sum, each, first.dtype, "Add"), first);
  },
  Select: (call) => {
    const [condition, t, e] = [call.tensor("condition"), call.tensor("t"), call.tensor("e")];
    const dtype = upcast(t.dtype, e.dtype);
    return call.op([asWide(condition, t), call.cast(t, dtype), call.cast(e, dtype)], {}, dtype, t.shape);
  },
};

function upcast(a: Dtype, b: Dtype): Dtype {
  if (a === b) return a;
  return a === "float32" || b === "float32" ? "float32" : "int32";
}

/** Reshapes a vector condition, which selects whole rows. */
function asWide(condition: Operand, { shape }: Operand): Operand {
  const isVector = condition.shape.length === 1 && shape.length > 1;
  return isVector ? { ...condition, shape: [...condition.shape, ...shape.slice(1).map(() => 1)] } : condition;
}
