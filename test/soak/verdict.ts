import type { Sample } from "./samples.ts";

const MIB = 2 ** 20;

/** A quantity at the begin and at the end of a run: medians over a tenth of the samples. */
export interface Row {
  name: string;
  first: string;
  last: string;
  /** What grows, in a sentence; null where nothing does. */
  problem: string | null;
}

interface Quantity {
  name: string;
  of: (sample: Sample) => number;
  /** What it may be at the end, given what it was. */
  allowed: (first: number) => number;
  text: (value: number) => string;
}

const whole = (value: number) => String(Math.round(value));
const bytes = (value: number) => `${(value / MIB).toFixed(1)} MiB`;
/** Allocators keep some of what was freed: a leak of 200 bytes a step would be more, after 100,000 steps. */
const memory = (first: number) => 1.03 * first + 16 * MIB;
const same = (first: number) => first;
/** A timer or a write may be under way. */
const few = (first: number) => first + 4;

const quantities: readonly Quantity[] = [
  { name: "memory of Node", of: (at) => at.nodeBytes, allowed: memory, text: bytes },
  { name: "of that JavaScript's", of: (at) => at.heapBytes, allowed: memory, text: bytes },
  { name: "memory of the worker", of: (at) => at.workerBytes, allowed: memory, text: bytes },
  { name: "tensors", of: (at) => at.tensors, allowed: same, text: whole },
  { name: "handles of Node", of: (at) => at.nodeHandles, allowed: few, text: whole },
  { name: "files of Node", of: (at) => at.nodeFiles, allowed: few, text: whole },
  { name: "files of the worker", of: (at) => at.workerFiles, allowed: few, text: whole },
  { name: "threads of the worker", of: (at) => at.workerThreads, allowed: same, text: whole },
];

/** What the samples of a run (20 and more) say of each quantity, and of its pace. The first tenth is the warm-up. */
export function verdict(samples: readonly Sample[]): Row[] {
  const tenth = Math.floor(samples.length / 10);
  const [early, late] = [samples.slice(tenth, 2 * tenth), samples.slice(-tenth)];
  const rows = quantities.map(({ name, of, allowed, text }) => {
    const [first, last] = [median(early.map(of)), median(late.map(of))];
    const grew = `${name}: ${text(first)} after the first tenth, ${text(last)} at the end`;
    return { name, first: text(first), last: text(last), problem: last <= allowed(first) ? null : grew };
  });
  return [...rows, pace(samples, tenth)];
}

/** Milliseconds of the processor a step. A busy machine makes them longer, too: its caches are shared. */
function pace(samples: readonly Sample[], tenth: number): Row {
  const steps = samples.slice(1).map((at, index) => {
    const before = samples[index] ?? at;
    return (1000 * (at.seconds - before.seconds)) / (at.step - before.step);
  });
  const early = steps.slice(tenth, 2 * tenth);
  const [first, last] = [median(early), median(steps.slice(-tenth))];
  const noise = median(early.map((each) => Math.abs(each - first)));
  const text = (value: number) => `${value.toFixed(2)} ms`;
  const slower = `processor time a step: ${text(first)} after the first tenth, ${text(last)} at the end`;
  const problem = last <= 1.2 * first + 4 * noise ? null : slower;
  return { name: "processor time a step", first: text(first), last: text(last), problem };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
