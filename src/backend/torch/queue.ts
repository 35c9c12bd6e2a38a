import type { Dtype } from "../../bridge/executor-run.ts";
import { Datum, type Instruction, type Operand, operandOf, sizeOf } from "./datum.ts";
import { type Attributes, type Code, type Definition, type Spec, textOf } from "./program.ts";
import { type Entry, type Site, siteOf } from "./sites.ts";

/** The content of the queue as a program, with the data of its slots. */
export interface Cut {
  /** The definition; "" if nothing has to be computed. */
  text: string;
  /** The program's instructions, in order. */
  code: Instruction[];
  inputs: Datum[];
  /** The values of all literals. */
  literals: number[];
  /** The results that are still needed, in the order of the program's outputs. */
  outputs: Datum[];
}

/** The cut of an empty queue. */
export const NOTHING: Cut = { text: "", code: [], inputs: [], literals: [], outputs: [] };

/** The least length of a repeated step. Shorter ones may be equal by chance, from other lines. */
const STEP = 16;

/** Instructions in the order in which tfjs called them, until a cut makes one program of them. */
export class Queue {
  private instructions: Instruction[] = [];
  private viewed: Datum[] = [];
  /** The content of the queue at the last cut. */
  private last: readonly Instruction[] = [];
  /** Whether the cut before that had the same kernels. */
  private steady = false;
  /** Whether the queue has the same kernels as `last` so far. */
  private following = false;

  get length(): number {
    return this.instructions.length;
  }

  /** Queues a call of a kernel and returns its outputs, which exist only in this queue. */
  push(
    kernel: string,
    inputs: readonly Operand[],
    attributes: Attributes,
    specs: readonly Spec[],
    site: Site | undefined,
  ): Operand[] {
    const operands = specs.map(([dtype, shape]) => operandOf(new Datum(dtype, shape, sizeOf(shape))));
    const outputs = operands.map(({ dataId }) => dataId);
    const taken = inputs.map((each) => this.asShaped(each, site));
    const instruction = { kernel, inputs: taken, attributes, outputs, site };
    for (const output of outputs) output.producer = instruction;
    this.following &&= this.last[this.instructions.length]?.kernel === kernel;
    this.instructions.push(instruction);
    return operands;
  }

  /**
   * The line of code that calls a kernel. Finding it takes several microseconds, more than everything else about an
   * instruction. So a step that repeats the kernels of the one before keeps its lines.
   */
  siteOf(kernel: string, entry: Entry): Site {
    const before = this.steady && this.following ? this.last[this.instructions.length] : undefined;
    return (before?.kernel === kernel ? before.site : undefined) ?? siteOf(entry);
  }

  /** The datum of an operand in the operand's shape. Queues a Reshape if tfjs only renamed the shape. */
  private asShaped(operand: Operand, site: Site | undefined): Datum {
    const { dataId: datum, shape } = operand;
    if (sameShape(shape, datum.shape)) return datum;
    const key = shape.join();
    let view = datum.views?.get(key);
    if (view === undefined) {
      view = this.reshaped(operand, site);
      if (datum.views === undefined) this.viewed.push(datum);
      datum.views ??= new Map();
      datum.views.set(key, view);
    }
    return view.dataId;
  }

  private reshaped({ dataId: datum, shape }: Operand, site: Site | undefined): Operand {
    if (datum.literal) {
      const view = new Datum(datum.dtype, shape, datum.size);
      view.values = datum.values;
      view.literal = true;
      return operandOf(view);
    }
    const whole = operandOf(datum);
    const [view = whole] = this.push("Reshape", [whole], { shape }, [[datum.dtype, shape]], site);
    return view;
  }

  /** The datum of an operand in its shape. The next cut makes it an output. */
  keep(operand: Operand): Datum {
    const datum = this.asShaped(operand, undefined);
    if (datum.producer !== undefined) datum.wanted = true;
    return datum;
  }

  /** Empties the queue. Results that are not held, read or used are not computed. */
  cut(): Cut {
    for (const datum of this.viewed) datum.views = undefined;
    this.viewed = [];
    if (this.instructions.length === 0) return NOTHING;
    const code = needed(this.instructions);
    const { length } = this.instructions;
    this.steady = this.following && length === this.last.length && length >= STEP;
    this.following = true;
    this.last = this.instructions;
    this.instructions = [];
    return code.length === 0 ? NOTHING : assemble(code);
  }
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const lives = (datum: Datum) => datum.refs > 0 || datum.wanted;

function needed(instructions: readonly Instruction[]): Instruction[] {
  const code: Instruction[] = [];
  for (let at = instructions.length - 1; at >= 0; at--) {
    const instruction = instructions[at];
    if (instruction === undefined) continue;
    if (instruction.outputs.some((output) => output.used || lives(output))) {
      for (const input of instruction.inputs) input.used = true;
      code.push(instruction);
    } else {
      for (const output of instruction.outputs) output.producer = undefined;
    }
  }
  return code.reverse();
}

/** Numbers the slots and writes the definition. */
function assemble(code: Instruction[]): Cut {
  const inputs: Datum[] = [];
  const literals: Datum[] = [];
  for (const { inputs: taken } of code) {
    for (const datum of taken) {
      if (datum.producer !== undefined || datum.slot === 0) continue;
      datum.slot = 0;
      (datum.literal ? literals : inputs).push(datum);
    }
  }
  let slot = 0;
  for (const datum of inputs) datum.slot = slot++;
  for (const datum of literals) datum.slot = slot++;
  const outputs: Datum[] = [];
  const lines: Code[] = [];
  for (const { kernel, inputs: taken, attributes, outputs: made } of code) {
    const slots = taken.map((datum) => datum.slot);
    for (const datum of made) {
      datum.slot = slot++;
      if (lives(datum)) outputs.push(datum);
    }
    lines.push([kernel, slots, attributes, made.map(specOf)]);
  }
  const definition: Definition = {
    inputs: inputs.map(specOf),
    literals: literals.map(specOf),
    code: lines,
    outputs: outputs.map((datum) => datum.slot),
  };
  const text = textOf(definition);
  const values = literals.flatMap((datum) => Array.from(datum.values ?? []));
  for (const datum of [...inputs, ...literals]) release(datum);
  for (const { outputs: made } of code) for (const datum of made) release(datum);
  return { text, code, inputs, literals: values, outputs };
}

function release(datum: Datum): void {
  datum.slot = -1;
  datum.used = false;
  datum.wanted = false;
  datum.producer = undefined;
}

function specOf(datum: Datum): [Dtype, number[]] {
  return [datum.dtype, datum.shape];
}
