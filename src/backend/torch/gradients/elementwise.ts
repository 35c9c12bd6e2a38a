import * as tf from "@tensorflow/tfjs-core";
import { flat, type Rules, slope, slopeByResult } from "./rule.ts";

const SELU_SCALE = tf.backend_util.SELU_SCALE;
const SELU_SCALE_ALPHA = tf.backend_util.SELU_SCALEALPHA;

/** 1 - x^2, x^2 - 1, 1 + x^2, which occur in the derivatives of inverse functions. */
const lessSquare = (x: tf.Tensor) => tf.sub(1, tf.square(x));
const squareLessOne = (x: tf.Tensor) => tf.sub(tf.square(x), 1);
const oneAndSquare = (x: tf.Tensor) => tf.add(1, tf.square(x));

/** Functions of each element. */
export const elementwise: Rules = {
  Abs: slope((x) => tf.sign(x)),
  Acos: slope((x) => tf.neg(tf.rsqrt(lessSquare(x)))),
  Acosh: slope((x) => tf.rsqrt(squareLessOne(x))),
  Asin: slope((x) => tf.rsqrt(lessSquare(x))),
  Asinh: slope((x) => tf.rsqrt(oneAndSquare(x))),
  Atan: slope((x) => tf.reciprocal(oneAndSquare(x))),
  Atanh: slope((x) => tf.reciprocal(lessSquare(x))),
  Cos: slope((x) => tf.neg(tf.sin(x))),
  Cosh: slope((x) => tf.sinh(x)),
  Erf: slope((x) => tf.mul(tf.exp(tf.neg(tf.square(x))), 2 / Math.sqrt(Math.PI))),
  Exp: slopeByResult((y) => y),
  Expm1: slope((x) => tf.exp(x)),
  LeakyRelu: {
    needs: ["x"],
    of: (dy, saved, { alpha }) => ({ x: () => tf.mul(dy, tf.step(saved(0), Number(alpha))) }),
  },
  Log: slope((x) => tf.reciprocal(x)),
  Log1p: slope((x) => tf.reciprocal(tf.add(x, 1))),
  Neg: { of: (dy) => ({ x: () => tf.neg(dy) }) },
  Reciprocal: slope((x) => tf.neg(tf.reciprocal(tf.square(x)))),
  Relu: slope((x) => tf.step(x)),
  Relu6: slope((x) => tf.mul(tf.step(x), tf.cast(tf.lessEqual(x, 6), "float32"))),
  Rsqrt: slope((x) => tf.mul(tf.rsqrt(x), tf.mul(-0.5, tf.reciprocal(x)))),
  Selu: slope((x) =>
    tf.where(tf.greater(x, 0), tf.fill(x.shape, SELU_SCALE), tf.mul(tf.exp(x), SELU_SCALE_ALPHA)),
  ),
  Sigmoid: slopeByResult((y) => tf.mul(y, tf.sub(1, y))),
  Sin: slope((x) => tf.cos(x)),
  Sinh: slope((x) => tf.cosh(x)),
  Softplus: slope((x) => tf.sigmoid(x)),
  Sqrt: slope((x) => tf.mul(0.5, tf.rsqrt(x))),
  Square: slope((x) => tf.mul(x, 2)),
  Tan: slope((x) => tf.reciprocal(tf.square(tf.cos(x)))),
  Tanh: slopeByResult((y) => lessSquare(y)),
  Elu: {
    needsResult: true,
    of: (dy, saved) => ({ x: () => tf.engine().runKernel("EluGrad", { dy, y: saved(0) }) }),
  },
  ClipByValue: {
    needs: ["x"],
    of: (dy, saved, { clipValueMin, clipValueMax }) => ({
      x: () => {
        const x = saved(0);
        const above = tf.greaterEqual(x, Number(clipValueMin));
        const inside = tf.logicalAnd(above, tf.lessEqual(x, Number(clipValueMax)));
        return tf.where(inside, dy, tf.zerosLike(dy));
      },
    }),
  },
  Softmax: {
    needsResult: true,
    of: (dy, saved) => ({
      logits: () => {
        const y = saved(0);
        const weighted = tf.mul(dy, y);
        return tf.sub(weighted, tf.mul(tf.sum(weighted, -1, true), y));
      },
    }),
  },
  LogSoftmax: {
    needsResult: true,
    of: (dy, saved) => ({
      logits: () => tf.sub(dy, tf.mul(tf.sum(dy, -1, true), tf.exp(saved(0)))),
    }),
  },
  Cast: { of: (dy) => ({ x: () => tf.clone(dy) }) },
  ...Object.fromEntries(
    ["Ceil", "Floor", "IsFinite", "IsInf", "IsNan", "OnesLike", "Round", "Sign", "Step", "ZerosLike"].map(
      (name) => [name, flat("x")],
    ),
  ),
  OneHot: flat("indices"),
};
