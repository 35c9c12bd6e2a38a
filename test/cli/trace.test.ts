import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTrace, type TraceEvent } from "../../src/experiment/trace.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { mixhead, tiny } from "./command.ts";

const decoupled = join(packageRoot, "configs", "demo", "decoupled.yaml");
const STEPS = 8; // of `tiny`
const ofTheRank = ["load", "augment", "teacher", "announce", "student", "wait", "loss"];

interface Span {
  name: string;
  pid: number;
  ts: number;
  dur: number;
  step: number;
}

const spansIn = (events: TraceEvent[]): Span[] =>
  events.flatMap(({ name, pid, ts, dur, args }) =>
    ts === undefined || dur === undefined ? [] : [{ name, pid, ts, dur, step: Number(args?.step) }],
  );

describe("mixhead train --trace", function () {
  this.timeout(120_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  after(() => rm(folder, { recursive: true }));

  it("writes every step of both processes on one clock", async () => {
    const done = await mixhead(folder, "train", decoupled, ...tiny, "--trace", "step.json");
    assert.equal(done.status, 0, done.stderr);
    const events = await readTrace(join(folder, "step.json"));
    const processes = events.filter((event) => event.name === "process_name");
    assert.deepEqual(processes.map((event) => event.args?.name).sort(), ["Node", "decoupled: PyTorch"]);

    const spans = spansIn(events);
    for (let step = 0; step < STEPS; step++) {
      const own = spans.filter((span) => span.step === step);
      const one = (name: string) => {
        const [span, ...others] = own.filter((each) => each.name === name);
        assert.ok(span !== undefined && others.length === 0, `step ${step} has one span "${name}"`);
        return span;
      };
      const whole = one("step");
      let end = whole.ts;
      for (const part of ofTheRank.map(one)) {
        assert.ok(part.ts >= end - 1, `${part.name} of step ${step} begins after what comes before it`);
        end = part.ts + part.dur;
      }
      assert.ok(end <= whole.ts + whole.dur + 1, `the parts of step ${step} lie within it`);

      const [announce, wait, answer, queue] = [one("announce"), one("wait"), one("answer"), one("queue")];
      assert.ok(answer.ts > announce.ts, "Node answers what was announced");
      assert.ok(answer.ts < wait.ts + wait.dur, "and the rank goes on when it was answered");
      assert.ok(queue.ts >= answer.ts && queue.ts + queue.dur <= answer.ts + answer.dur);
      assert.notEqual(answer.pid, whole.pid);
      assert.equal(answer.pid, queue.pid);
    }
    assert.ok(!existsSync(join(folder, "runs", "decoupled", "decoupled", "trace.jsonl")));
  });

  it("shows the mixture's program within the rank's wait, if the rank computes it", async () => {
    const args = ["placement=device", ...tiny, "--name", "placed", "--trace", "placed.json"];
    const done = await mixhead(folder, "train", decoupled, ...args);
    assert.equal(done.status, 0, done.stderr);
    const spans = spansIn(await readTrace(join(folder, "placed.json")));
    for (let step = 1; step < STEPS; step++) {
      const of = (name: string) => spans.find((span) => span.step === step && span.name === name);
      const [program, wait, queue] = [of("program"), of("wait"), of("queue")];
      assert.ok(program && wait && queue, `step ${step} has a program, a wait and a queue`);
      assert.ok(program.ts >= wait.ts && program.ts + program.dur <= wait.ts + wait.dur + 1);
      assert.ok(program.ts >= queue.ts, "it runs once Node has queued it");
      assert.equal(program.pid, wait.pid);
    }
  });

  it("says before anything is trained that the file cannot be written", async () => {
    const done = await mixhead(folder, "train", decoupled, ...tiny, "--name", "other", "--trace", "runs");
    assert.equal(done.status, 2, done.stderr);
    assert.match(done.stderr, /^mixhead: .*runs/);
    assert.ok(!done.stderr.includes("step 1"));
  });
});
