import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunError } from "../../src/errors.ts";
import { Patience } from "../../src/experiment/patience.ts";

describe("the patience with a worker", function () {
  this.timeout(20_000);
  let lost: RunError[];
  let patience: Patience;
  beforeEach(() => {
    lost = [];
    patience = new Patience(0.05, (error) => lost.push(error));
  });
  afterEach(() => patience.end());

  /** A step that took a moment: the next may take ten times as long. */
  async function step(): Promise<void> {
    patience.expect("step 0");
    await sleep(5);
    patience.came();
  }

  async function itsEnd(): Promise<void> {
    while (lost.length === 0) await sleep(10);
  }

  it("ends where a step does not come, and says what was awaited", async () => {
    await step();
    patience.expect("its part of step 1");
    await itsEnd();
    assert.match(lost[0]?.message ?? "", /the worker hangs: its part of step 1 did not come within \d+ s/);
    assert.equal(lost.length, 1);
  });

  it("is long for the start and the first step", async () => {
    patience.expect("its hello");
    await sleep(100);
    assert.equal(lost.length, 0);
  });

  it("waits for results as long as they take, then for what is next", async () => {
    await step();
    patience.expect("its part of step 1", ["evaluate", "checkpoint"]);
    patience.result("its part of step 1");
    await sleep(400);
    assert.equal(lost.length, 0, "a checkpoint is still to come");
    patience.result("its part of step 1");
    await itsEnd();
    assert.equal(lost.length, 1);
  });

  it("is over once and for all, so that nothing keeps the process", async () => {
    await step();
    patience.end();
    patience.expect("its part of step 1");
    await sleep(400);
    assert.equal(lost.length, 0);
  });
});
