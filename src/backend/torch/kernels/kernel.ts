import * as tf from "@tensorflow/tfjs-core";
import type { Dtype } from "../../../bridge/executor-run.ts";
import { UserError } from "../../../errors.ts";
import type { Operand } from "../datum.ts";
import type { Attributes, Spec } from "../program.ts";
import { type Entry, inBrackets, type Site } from "../sites.ts";

/** Infers the outputs of a kernel, and queues it as one instruction or a few. */
export type Kernel = (call: Call) => Operand | Operand[];

/** Kernels by tfjs's names. */
export type KernelTable = Record<string, Kernel>;

/** The part of the backend that kernels use. */
export interface Target {
  /** The line of code that calls a kernel. `entry`: the function that tfjs called. */
  siteOf(kernel: string, entry: Entry): Site;
  operand(tensor: tf.TensorInfo, kernel: string, site: Site): Operand;
  op(
    kernel: string,
    inputs: readonly Operand[],
    attributes: Attributes,
    outputs: readonly Spec[],
    site: Site,
  ): Operand[];
  constant(values: ArrayLike<number>, shape: number[], dtype: Dtype): Operand;
  give(operand: Operand): tf.TensorInfo;
}

/** A call of a kernel by tfjs: its inputs, its attributes, and functions to queue instructions. */
export class Call {
  constructor(
    readonly kernel: string,
    private readonly backend: Target,
    private readonly inputs: tf.NamedTensorInfoMap,
    private readonly attrs: tf.NamedAttrMap,
    private readonly site: Site,
  ) {}

  tensor(name: string): Operand {
    const input = this.inputs[name];
    if (input === undefined) throw new TypeError(`${this.kernel} has no input ${name}`);
    return this.backend.operand(input, this.kernel, this.site);
  }

  optional(name: string): Operand | undefined {
    return this.inputs[name] ? this.tensor(name) : undefined;
  }

  /** The inputs of a kernel whose inputs are a list. */
  tensors(): Operand[] {
    return Object.keys(this.inputs).map((name) => this.tensor(name));
  }

  /** Queues one instruction with one output, by default under this kernel's name. */
  op(
    inputs: readonly Operand[],
    attributes: Attributes,
    dtype: Dtype,
    shape: number[],
    kernel = this.kernel,
  ): Operand {
    const [output] = this.backend.op(kernel, inputs, attributes, [[dtype, shape]], this.site);
    if (output === undefined) throw new TypeError(`${kernel} gave nothing`);
    return output;
  }

  /** Queues one instruction with several outputs. */
  ops(inputs: readonly Operand[], attributes: Attributes, outputs: [Dtype, number[]][]): Operand[] {
    return this.backend.op(this.kernel, inputs, attributes, outputs, this.site);
  }

  /** An operand of numbers that JavaScript knows. */
  constant(values: ArrayLike<number>, shape: number[], dtype: Dtype): Operand {
    return this.backend.constant(values, shape, dtype);
  }

  /** Casts `x`. Values that JavaScript knows are cast here, as typed arrays do. */
  cast(x: Operand, dtype: Dtype): Operand {
    if (x.dtype === dtype) return x;
    const { literal, values } = x.dataId;
    if (!literal || values === undefined) return this.op([x], { dtype }, dtype, x.shape, "Cast");
    const numbers = dtype === "bool" ? Array.from(values, (value) => (value === 0 ? 0 : 1)) : values;
    return this.constant(numbers, x.shape, dtype);
  }

  has(name: string): boolean {
    return this.attrs[name] !== undefined && this.attrs[name] !== null;
  }

  value(name: string): unknown {
    return this.attrs[name];
  }

  number(name: string): number {
    const value = this.attrs[name];
    if (typeof value === "number") return value;
    throw this.misfit(name, "a number");
  }

  flag(name: string): boolean {
    return this.attrs[name] === true;
  }

  text(name: string): string {
    const value = this.attrs[name];
    if (typeof value === "string") return value;
    throw this.misfit(name, "text");
  }

  /** A list of numbers; a single number is a list of one. */
  numbers(name: string): number[] {
    const value: unknown = this.attrs[name];
    if (typeof value === "number") return [value];
    if (Array.isArray(value) && value.every((each) => typeof each === "number")) return value;
    throw this.misfit(name, "a list of numbers");
  }

  /** A list of pairs, such as paddings. */
  pairs(name: string): [number, number][] {
    const value: unknown = this.attrs[name];
    if (!Array.isArray(value)) throw this.misfit(name, "a list of pairs");
    return value.map((pair: unknown) => {
      if (!Array.isArray(pair) || pair.length !== 2) throw this.misfit(name, "a list of pairs");
      return [Number(pair[0]), Number(pair[1])];
    });
  }

  /** The axes in an attribute, ascending; all axes if it has none. */
  axes(name: string, shape: readonly number[]): number[] {
    if (!this.has(name)) return shape.map((_, axis) => axis);
    const axes = tf.util.parseAxisParam(this.numbers(name), [...shape]);
    return [...new Set(axes)].sort((a, b) => a - b);
  }

  axis(name: string, shape: readonly number[]): number {
    return this.axes(name, shape)[0] ?? 0;
  }

  /** An error of the user's program, with the line of code. */
  error(sentence: string): UserError {
    return new UserError(`${sentence}${inBrackets(this.site)}`);
  }

  private misfit(name: string, what: string): Error {
    return this.error(`${this.kernel}: ${name} is not ${what}`);
  }
}

/** Registers kernels with tfjs. `targetOf` checks and converts the backend that tfjs passes to them. */
export function register(
  backendName: string,
  kernels: KernelTable,
  targetOf: (backend: object) => Target,
): void {
  for (const [kernelName, kernel] of Object.entries(kernels)) {
    const kernelFunc: tf.KernelFunc = ({ inputs, backend, attrs }) => {
      const target = targetOf(backend);
      const site = target.siteOf(kernelName, kernelFunc);
      const given = kernel(new Call(kernelName, target, inputs, attrs ?? {}, site));
      return Array.isArray(given) ? given.map((each) => target.give(each)) : target.give(given);
    };
    tf.registerKernel({ kernelName, backendName, kernelFunc });
  }
}
