import assert from "node:assert/strict";
import { stepsOf, timesOf } from "../../bench/steps.ts";
import type { TraceEvent } from "../../src/experiment/trace.ts";

const NODE = 1;
const RANK = 2;
const HOST = 1;
const DEVICE = 2;
const OTHER = 3;

const named = (name: string, pid: number, tid: number, text: string): TraceEvent => ({
  name,
  ph: "M",
  pid,
  tid,
  args: { name: text },
});
const lanes = [
  named("process_name", NODE, 0, "Node"),
  named("process_name", RANK, 0, "decoupled: PyTorch"),
  named("thread_name", NODE, 1, "decoupled"),
  named("thread_name", RANK, HOST, "host"),
  named("thread_name", RANK, DEVICE, "device, stream 1"),
  named("thread_name", RANK, OTHER, "device, stream 2"),
];
const span = (name: string, tid: number, ts: number, dur: number, step = 5): TraceEvent => ({
  name,
  ph: "X",
  pid: RANK,
  tid,
  ts,
  dur,
  args: { step },
});

const times = (...events: TraceEvent[]) => timesOf(stepsOf([...lanes, ...events]).get(5) ?? []);

describe("what a step in a trace waited for", () => {
  it("on the CPU is what the rank waited", () => {
    assert.deepEqual(times(span("step", HOST, 0, 10_000), span("wait", HOST, 4000, 3000)), {
      step: 10,
      wait: 3,
      idle: 3,
    });
  });

  it("on the CPU leaves out the mixture's program, which the rank computes as it waits", () => {
    const waits = [span("wait", HOST, 4000, 3000), span("program", HOST, 5000, 1900)];
    assert.equal(times(span("step", HOST, 0, 10_000), ...waits)?.idle, 1.1);
  });

  it("on a GPU begins when the queued work is done, not when the host begins to wait", () => {
    const waits = [span("wait", HOST, 1000, 6000), span("wait", DEVICE, 5000, 2000)];
    assert.equal(times(span("step", HOST, 0, 10_000), ...waits)?.idle, 2);
  });

  it("leaves out the time in which the mixture's program runs on a stream of its own", () => {
    const waits = [span("wait", HOST, 1000, 6000), span("wait", DEVICE, 5000, 2000)];
    const programs = [span("program", OTHER, 4000, 1500), span("program", OTHER, 6500, 4000)];
    assert.equal(times(span("step", HOST, 0, 10_000), ...waits, ...programs)?.idle, 1);
  });

  it("is not known of a step that was cut off", () => {
    assert.equal(times(span("wait", HOST, 0, 1)), undefined);
  });
});
