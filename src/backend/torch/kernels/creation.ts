import * as tf from "@tensorflow/tfjs-core";
import type { Dtype } from "../../../bridge/executor-run.ts";
import { asDtype, type Operand, sizeOf } from "../datum.ts";
import { MAX_LITERAL } from "../program.ts";
import type { Call, KernelTable } from "./kernel.ts";

export const creation: KernelTable = {
  Fill: (call) => {
    const value = Number(call.value("value"));
    const dtype = call.has("dtype") ? call.text("dtype") : tf.util.inferDtype(value);
    return filled(call, call.numbers("shape"), value, asDtype(dtype, "Fill"));
  },
  ZerosLike: (call) => {
    const { shape, dtype } = call.tensor("x");
    return filled(call, shape, 0, dtype);
  },
  OnesLike: (call) => {
    const { shape, dtype } = call.tensor("x");
    return filled(call, shape, 1, dtype);
  },
  Range: (call) => {
    const [start, stop] = [call.number("start"), call.number("stop")];
    const dtype = asDtype(call.text("dtype"), "Range");
    const given = call.number("step");
    // Like tfjs, count downwards if the step was left at 1.
    const step = stop < start && given === 1 ? -1 : given;
    const isEmpty = start === stop || (start < stop && given < 0) || (stop < start && given > 1);
    const count = isEmpty ? 0 : Math.abs(Math.ceil((stop - start) / given));
    return sequence(call, start, step, count, dtype);
  },
  LinSpace: (call) => {
    const [start, stop, count] = [call.number("start"), call.number("stop"), call.number("num")];
    return sequence(call, start, (stop - start) / (count - 1), count, "float32");
  },
  Diag: (call) => {
    const x = call.tensor("x");
    return call.op([x], {}, x.dtype, [...x.shape, ...x.shape]);
  },
};

/** Sends the value as one literal, so that the program stays the same if it changes from step to step. */
function filled(call: Call, shape: number[], value: number, dtype: Dtype): Operand {
  const size = sizeOf(shape);
  if (size <= 1) return call.constant(new Array<number>(size).fill(value), shape, dtype);
  return call.op([call.constant([value], [], dtype)], { shape }, dtype, shape, "Fill");
}

/** start, start + step, ... Short sequences are computed here, as tfjs does. */
function sequence(call: Call, start: number, step: number, count: number, dtype: Dtype): Operand {
  if (count > MAX_LITERAL) return call.op([], { start, step, count, dtype }, dtype, [count], "Range");
  const values = dtype === "int32" ? new Int32Array(count) : new Float32Array(count);
  if (count > 0) values[0] = start;
  for (let i = 1; i < count; i++) values[i] = (values[i - 1] ?? 0) + step;
  return call.constant(values, [count], dtype);
}
