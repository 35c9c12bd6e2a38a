import type { Dtype } from "../../../bridge/executor-run.ts";
import type { Operand } from "../datum.ts";
import type { Call, Kernel, KernelTable } from "./kernel.ts";

/** An elementwise function. The result has dtype `type`, by default the input's. */
const each =
  (dtype?: Dtype): Kernel =>
  (call) => {
    const x = call.tensor("x");
    return call.op([x], {}, dtype ?? x.dtype, x.shape);
  };

/** An elementwise function with numbers. They are sent as literals, since a schedule may change them at every step. */
const withNumbers =
  (names: readonly string[], dtype?: Dtype): Kernel =>
  (call) => {
    const x = call.tensor("x");
    const numbers = names.map((name) => call.constant([call.number(name)], [], "float32"));
    return call.op([x, ...numbers], {}, dtype ?? x.dtype, x.shape);
  };

const SAME = [
  ["Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Elu", "Erf", "Expm1"],
  [
    "Floor",
    "Log",
    "Log1p",
    "Neg",
    "Reciprocal",
    "Relu",
    "Relu6",
    "Round",
    "Rsqrt",
    "Selu",
    "Sigmoid",
    "Sign",
  ],
  ["Sin", "Sinh", "Softplus", "Sqrt", "Square", "Tan", "Tanh"],
].flat();

export const elementwise: KernelTable = {
  ...Object.fromEntries(SAME.map((name) => [name, each()])),
  Exp: each("float32"),
  IsFinite: each("bool"),
  IsInf: each("bool"),
  IsNan: each("bool"),
  LogicalNot: each("bool"),
  Step: withNumbers(["alpha"]),
  LeakyRelu: withNumbers(["alpha"], "float32"),
  ClipByValue: withNumbers(["clipValueMin", "clipValueMax"]),
  Cast: (call) => {
    const dtype = call.text("dtype");
    if (dtype === "float32" || dtype === "int32" || dtype === "bool")
      return call.cast(call.tensor("x"), dtype);
    throw call.error(`Cast: backend torch has no ${dtype}`);
  },
  Softmax: (call) => alongLast(call, "dim"),
  LogSoftmax: (call) => alongLast(call, "axis"),
};

function alongLast(call: Call, attribute: string): Operand {
  const x = call.tensor("logits");
  const last = x.shape.length - 1;
  const axis = call.number(attribute);
  if (axis !== -1 && axis !== last) {
    throw call.error(
      `${call.kernel} works along the last axis, but this is axis ${axis} of ${x.shape.length}`,
    );
  }
  return call.op([x], {}, "float32", x.shape);
}
