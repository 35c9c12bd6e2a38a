import * as tf from "@tensorflow/tfjs-core";
import { flat, float, type Rule, type Rules, summedTo } from "./rule.ts";

type OfPair = (dy: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => tf.Tensor;

/** The rule of a function of pairs: gradients for both sides, then summed over broadcast axes. */
const pair = (byA: OfPair, byB: OfPair): Rule => ({
  needs: ["a", "b"],
  of: (dy, saved) => {
    const [a, b] = [saved(0), saved(1)];
    return {
      a: () => summedTo(byA(dy, float(a), float(b)), a.shape),
      b: () => summedTo(byB(dy, float(a), float(b)), b.shape),
    };
  },
});

const where = (condition: tf.Tensor, dy: tf.Tensor) => tf.mul(dy, float(condition));
/** b / (a^2 + b^2), the derivative of atan2. */
const turned = (a: tf.Tensor, b: tf.Tensor) => tf.div(b, tf.add(tf.square(a), tf.square(b)));

/** Functions of pairs of elements, and products of matrices. */
export const binary: Rules = {
  Add: pair(
    (dy) => dy,
    (dy) => dy,
  ),
  Sub: pair(
    (dy) => dy,
    (dy) => tf.neg(dy),
  ),
  Multiply: pair(
    (dy, _, b) => tf.mul(dy, b),
    (dy, a) => tf.mul(dy, a),
  ),
  RealDiv: pair(
    (dy, _, b) => tf.div(dy, b),
    (dy, a, b) => tf.neg(tf.div(tf.mul(dy, a), tf.square(b))),
  ),
  FloorDiv: pair(
    (dy, _, b) => tf.div(dy, b),
    (dy, a, b) => tf.neg(tf.div(tf.mul(dy, a), tf.square(b))),
  ),
  Mod: pair(
    (dy) => dy,
    (dy, a, b) => tf.mul(dy, tf.neg(tf.floor(tf.div(a, b)))),
  ),
  Maximum: pair(
    (dy, a, b) => where(tf.greaterEqual(a, b), dy),
    (dy, a, b) => where(tf.less(a, b), dy),
  ),
  Minimum: pair(
    (dy, a, b) => where(tf.lessEqual(a, b), dy),
    (dy, a, b) => where(tf.greater(a, b), dy),
  ),
  SquaredDifference: pair(
    (dy, a, b) => tf.mul(dy, tf.mul(tf.sub(a, b), 2)),
    (dy, a, b) => tf.mul(dy, tf.mul(tf.sub(b, a), 2)),
  ),
  Atan2: pair(
    (dy, a, b) => tf.mul(dy, turned(a, b)),
    (dy, a, b) => tf.neg(tf.mul(dy, turned(b, a))),
  ),
  Pow: {
    needs: ["a", "b"],
    needsResult: true,
    of: (dy, saved) => {
      const [a, b, y] = [saved(0), saved(1), saved(2)];
      return {
        a: () => summedTo(tf.mul(dy, tf.mul(float(b), tf.pow(float(a), tf.sub(float(b), 1)))), a.shape),
        b: () => {
          // A base that is not positive has no logarithm; use 0.
          const logarithm = tf.where(tf.greater(a, 0), tf.log(float(a)), tf.zerosLike(float(a)));
          return summedTo(tf.mul(dy, tf.mul(y, logarithm)), b.shape);
        },
      };
    },
  },
  Prelu: {
    needs: ["x", "alpha"],
    of: (dy, saved) => {
      const [x, alpha] = [saved(0), saved(1)];
      const above = tf.greater(x, 0);
      return {
        x: () => tf.where(above, dy, tf.mul(dy, alpha)),
        alpha: () => summedTo(tf.where(above, tf.zerosLike(dy), tf.mul(dy, x)), alpha.shape),
      };
    },
  },
  AddN: {
    needs: "all",
    of: (dy, saved) => Object.fromEntries(saved.all.map((_, place) => [place, () => tf.clone(dy)])),
  },
  GreaterEqual: flat("a", "b"),
  Select: {
    needs: ["condition"],
    of: (dy, saved) => {
      const condition = saved(0);
      const zeros = () => tf.zerosLike(dy);
      return {
        condition: () => tf.zerosLike(float(condition)),
        t: () => tf.where(condition, dy, zeros()),
        e: () => tf.where(condition, zeros(), dy),
      };
    },
  },
  BatchMatMul: {
    needs: ["a", "b"],
    of: (dy, saved, { transposeA, transposeB }) => {
      const [a, b] = [saved(0), saved(1)];
      const [flipA, flipB] = [transposeA === true, transposeB === true];
      return {
        a: () => summedTo(flipA ? tf.matMul(b, dy, flipB, true) : tf.matMul(dy, b, false, !flipB), a.shape),
        b: () => summedTo(flipB ? tf.matMul(dy, a, true, flipA) : tf.matMul(a, dy, !flipA, false), b.shape),
      };
    },
  },
};
