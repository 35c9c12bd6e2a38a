import type { TraceEvent } from "../src/experiment/trace.ts";

/** A span of one step, in microseconds of the machine's clock. */
export interface Span {
  name: string;
  lane: Lane;
  began: number;
  ended: number;
}

/** Node; the rank's Python; the device, its stream for the encoder or another. */
export type Lane = "Node" | "rank" | "device" | "device, other stream";

/** The spans of a trace of one training, by step. */
export function stepsOf(events: readonly TraceEvent[]): Map<number, Span[]> {
  const lanes = lanesOf(events);
  const steps = new Map<number, Span[]>();
  for (const { name, pid, tid, ts, dur, args } of events) {
    const [lane, step] = [lanes.get(`${pid} ${tid}`), args?.step];
    if (ts === undefined || dur === undefined || lane === undefined || typeof step !== "number") continue;
    const spans = steps.get(step) ?? [];
    steps.set(step, [...spans, { name, lane, began: ts, ended: ts + dur }]);
  }
  return steps;
}

function lanesOf(events: readonly TraceEvent[]): Map<string, Lane> {
  const nodes = new Set(
    events.filter(({ name, args }) => name === "process_name" && args?.name === "Node").map(({ pid }) => pid),
  );
  const mixtures = new Set(
    events.filter(({ name, dur }) => name === "program" && dur !== undefined).map(placeOf),
  );
  const threads = events.filter(({ name }) => name === "thread_name");
  return new Map(
    threads.map((event) => [
      placeOf(event),
      laneOf(nodes.has(event.pid), String(event.args?.name), mixtures.has(placeOf(event))),
    ]),
  );
}

function placeOf({ pid, tid }: TraceEvent): string {
  return `${pid} ${tid}`;
}

/** `mixture`: whether programs run there; streams have their numbers in the order in which they are first used. */
function laneOf(node: boolean, thread: string, mixture: boolean): Lane {
  if (node) return "Node";
  if (thread === "host") return "rank";
  return mixture ? "device, other stream" : "device";
}

export interface StepTimes {
  /** Milliseconds. */
  step: number;
  /** Milliseconds in which the rank waits for the plugin's answer. */
  wait: number;
  /** Milliseconds in which the device is idle while it waits for the answer; on the CPU, in which the rank is. */
  idle: number;
}

/** The durations of a step; undefined if its spans are incomplete. */
export function timesOf(spans: readonly Span[]): StepTimes | undefined {
  const on = (lane: Lane, name: string) => spans.find((span) => span.lane === lane && span.name === name);
  const [step, wait] = [on("rank", "step"), on("rank", "wait")];
  if (step === undefined || wait === undefined) return undefined;
  // On a device, from the end of the work that the rank had queued before it waited. A program may run meanwhile.
  const waits = on("device", "wait") ?? wait;
  const beside = waits === wait ? "rank" : "device, other stream";
  const programs = spans.filter(({ lane, name }) => lane === beside && name === "program");
  const idle = length(waits) - covered(waits, programs);
  return { step: length(step) / 1e3, wait: length(wait) / 1e3, idle: idle / 1e3 };
}

function length({ began, ended }: Pick<Span, "began" | "ended">): number {
  return ended - began;
}

/** The part of `span` that the others, which do not overlap, cover. */
function covered(span: Span, others: readonly Span[]): number {
  return others.reduce((sum, other) => {
    const common = Math.min(span.ended, other.ended) - Math.max(span.began, other.began);
    return sum + Math.max(0, common);
  }, 0);
}
