import * as tf from "@tensorflow/tfjs-core";
import { describe, type Operand } from "../datum.ts";
import { broadcast } from "./binary.ts";
import type { Call, KernelTable } from "./kernel.ts";

export const products: KernelTable = {
  BatchMatMul: (call) => product(call, call.tensor("a"), call.tensor("b")),
  _FusedMatMul: (call) => {
    const bias = call.optional("bias");
    const plain = product(call, call.tensor("a"), call.tensor("b"));
    const sum = bias ? call.op([plain, bias], {}, plain.dtype, broadcast(plain, bias), "Add") : plain;
    return activated(call, sum);
  },
  Einsum: (call) => {
    const tensors = call.tensors();
    const equation = call.text("equation").replace(/\s/g, "");
    tf.backend_util.decodeEinsumEquation(equation, tensors.length); // throws if it is invalid
    const sizes = new Map<string, number>();
    const [inputs = "", output = ""] = equation.split("->");
    for (const [at, names] of inputs.split(",").entries()) {
      const { shape = [] } = tensors[at] ?? {};
      for (const [axis, name] of Array.from(names).entries()) {
        const [size = 0, known = size] = [shape[axis], sizes.get(name)];
        sizes.set(name, known);
        if (known === size) continue;
        throw call.error(
          `Expected dimension ${known} at axis ${axis} of input shaped [${shape}], but got dimension ${size}`,
        );
      }
    }
    const shape = Array.from(output, (name) => sizes.get(name) ?? 0);
    return call.op(tensors, { equation }, tensors[0]?.dtype ?? "float32", shape);
  },
};

function product(call: Call, a: Operand, b: Operand): Operand {
  const [transposeA, transposeB] = [call.flag("transposeA"), call.flag("transposeB")];
  if (a.shape.length < 2 || b.shape.length < 2) {
    throw call.error(`matMul: ${describe(a)} and ${describe(b)} are not both matrices`);
  }
  const [rows = 0, inner = 0] = lastTwo(a.shape, transposeA);
  const [innerB = 0, columns = 0] = lastTwo(b.shape, transposeB);
  if (inner !== innerB) {
    throw call.error(
      `Error in matMul: inner shapes (${inner}) and (${innerB}) of Tensors with shapes ${a.shape} and ${b.shape} and transposeA=${transposeA} and transposeB=${transposeB} must match.`,
    );
  }
  const outer = tf.backend_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  return call.op([a, b], { transposeA, transposeB }, a.dtype, [...outer, rows, columns], "BatchMatMul");
}

function lastTwo(shape: readonly number[], transposed: boolean): number[] {
  return transposed ? shape.slice(-2).reverse() : shape.slice(-2);
}

/** The activation after a fused product. */
function activated(call: Call, x: Operand): Operand {
  const same = (kernel: string) => call.op([x], {}, x.dtype, x.shape, kernel);
  const activation = call.has("activation") ? call.text("activation") : "linear";
  switch (activation) {
    case "linear":
      return x;
    case "relu":
      return same("Relu");
    case "relu6":
      return same("Relu6");
    case "elu":
      return same("Elu");
    case "sigmoid":
      return same("Sigmoid");
    case "leakyrelu": {
      const alpha = call.constant([call.number("leakyreluAlpha")], [], "float32");
      return call.op([x, alpha], {}, "float32", x.shape, "LeakyRelu");
    }
    case "prelu": {
      const alpha = call.tensor("preluActivationWeights");
      return call.op([x, alpha], {}, "float32", broadcast(x, alpha), "Prelu");
    }
  }
  throw call.error(`matMul: there is no activation ${activation}`);
}
