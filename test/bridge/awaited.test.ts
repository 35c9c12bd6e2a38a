import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Awaited } from "../../src/bridge/awaited.ts";

describe("what a rank has still to send", function () {
  this.timeout(20_000);
  let late: string[];
  let awaited: Awaited;
  beforeEach(() => {
    late = [];
    awaited = new Awaited({ command: 10_000, part: 50 }, (why) => late.push(why));
  });
  afterEach(() => awaited.end());

  /** A step that took a moment: the next may take ten times as long. */
  async function step(): Promise<void> {
    awaited.expect([], 0);
    await sleep(5);
    awaited.part();
  }

  async function itsDeadline(): Promise<void> {
    while (late.length === 0) await sleep(10);
  }

  it("includes a part, which is named once when its deadline has passed", async () => {
    await step();
    awaited.expect([], 1);
    await itsDeadline();
    await sleep(200);
    assert.equal(late.length, 1);
    assert.match(
      late[0] ?? "",
      /^its part of step 1 did not come within [\d.]+ s \(bridge\.deadline allows for longer\)$/,
    );
  });

  it("may take long for the first part", async () => {
    awaited.expect([], 0);
    await sleep(400);
    assert.deepEqual(late, []);
  });

  it("includes results first, whose deadline is another, and then the part", async () => {
    await step();
    awaited.expect(["evaluate", "checkpoint"], 1);
    assert.equal(awaited.owed, "the result of evaluate after step 1");
    assert.equal(awaited.result("evaluate", 1), true);
    await sleep(400);
    assert.deepEqual(late, [], "a checkpoint is still to come");
    assert.equal(awaited.result("checkpoint", 1), true);
    assert.equal(awaited.owed, undefined);
    await itsDeadline();
    assert.match(late[0] ?? "", /^its part of step 1/);
  });

  it("counts a result only in its turn, and keeps one that is tried again", () => {
    awaited.expect(["evaluate", "checkpoint"], 1);
    assert.equal(awaited.result("checkpoint", 1), false);
    assert.equal(awaited.result("evaluate", 2), false);
    assert.equal(awaited.result("evaluate", 1, true), true);
    assert.equal(awaited.owed, "the result of evaluate after step 1");
  });

  it("includes no part of a rank that may take as long as it likes", async () => {
    awaited = new Awaited({ command: 50, part: null }, (why) => late.push(why));
    await step();
    awaited.expect([], 1);
    await sleep(400);
    assert.deepEqual(late, []);
    awaited.expect(["evaluate"], 2);
    await itsDeadline();
    assert.match(
      late[0] ?? "",
      /^the result of evaluate after step 2 did not come within 0.05 s \(bridge\.commandDeadline/,
    );
  });

  it("ends with the rank, so that no timer keeps the process", async () => {
    await step();
    awaited.expect([], 1);
    awaited.end();
    await sleep(400);
    assert.deepEqual(late, []);
  });
});
