import assert from "node:assert/strict";
import type { ScheduleConfig } from "../../src/config/schedule.ts";
import { UserError } from "../../src/errors.ts";
import {
  type Clock,
  constant,
  cosine,
  linear,
  parseSchedule,
  schedule,
  warmup,
  within,
} from "../../src/schedules/schedule.ts";

const at = (step: number, steps = 100): Clock => ({ step, steps, epoch: 0 });

/** The values of a configured schedule at some steps of a run of 100. */
const values = (config: ScheduleConfig, steps: number[]) =>
  steps.map((step) => Number(parseSchedule(config)(at(step)).toFixed(10)));

describe("schedules", () => {
  it("follow their formulas, reach the end exactly and stay there", () => {
    const path = { from: 0.2, to: 1, steps: 40 };
    assert.deepEqual(values({ linear: path }, [0, 10, 40, 99]), [0.2, 0.4, 1, 1]);
    assert.deepEqual(values({ cosine: path }, [0, 20, 40, 99]), [0.2, 0.6, 1, 1]);
    assert.deepEqual(
      values({ exponential: { from: 1, to: 1e-4, steps: 40 } }, [0, 10, 20, 40]),
      [1, 0.1, 0.01, 1e-4],
    );
    assert.deepEqual(
      values({ step: { from: 8, at: [10, 20], factor: 0.5 } }, [0, 9, 10, 20, 99]),
      [8, 8, 4, 2, 2],
    );
    assert.deepEqual(values(0.3, [0, 99]), [0.3, 0.3]);
  });

  it("have the run's length if they are given none", () => {
    const half = linear({ from: 0, to: 1 });
    assert.equal(half(at(50, 100)), 0.5);
    assert.equal(half(at(50, 200)), 0.25);
  });

  it("compose: a warm-up leads into a decay over the rest of the run", () => {
    const rate: ScheduleConfig = { warmup: { steps: 20, from: 0, to: { linear: { from: 4, to: 0 } } } };
    assert.deepEqual(values(rate, [0, 10, 20, 60, 100]), [0, 2, 4, 2, 0]);
    const nested = linear({ from: constant(1), to: warmup({ steps: 50, to: 10 }) });
    assert.equal(nested(at(25)), 0.75 * 1 + 0.25 * 5);
  });

  it("write themselves as a configuration that gives the same values", () => {
    const made = linear({
      from: constant(1),
      to: warmup({ steps: 50, to: cosine({ from: 1, to: 0, steps: 9 }) }),
    });
    const read = parseSchedule(made.config);
    assert.deepEqual(read.config, made.config);
    for (const step of [0, 20, 55, 99]) assert.equal(read(at(step)), made(at(step)));
  });

  it("that contain your own function are recorded by name, and read back only with that function", () => {
    const half = cosine({ from: schedule(() => 0.5, "half"), to: 1 });
    assert.deepEqual(half.config, { custom: "cosine(half to 1)" });
    assert.equal(parseSchedule(half.config, new Map([[half.text, half]]))(at(0)), 0.5);
    assert.throws(() => parseSchedule(half.config), /"cosine\(half to 1\)" is a function/);
  });

  it("are constant if both ends are equal", () => {
    for (const make of [linear, cosine])
      for (let step = 0; step < 100; step++) assert.equal(make({ from: 0.1, to: 0.1 })(at(step)), 0.1);
  });

  it("are any function of the clock", () => {
    const sawtooth = schedule((clock) => clock.step % 10, "sawtooth");
    assert.equal(linear({ from: sawtooth, to: 0, steps: 20 })(at(15)), 5 * 0.25);
  });

  it("describe themselves for records", () => {
    assert.equal(
      parseSchedule({ cosine: { from: 0.2, to: 1, steps: 500 } }).text,
      "cosine(0.2 to 1, 500 steps)",
    );
    assert.equal(
      parseSchedule({ warmup: { steps: 5, to: { linear: { from: 1, to: 0 } } } }).text,
      "warmup(0, 5 steps, then linear(1 to 0))",
    );
    assert.equal(parseSchedule({ step: { from: 1, at: [3], factor: 0.1 } }).text, "step(1, times 0.1 at 3)");
  });

  it("refuse values that are not allowed before the run, if they are known then", () => {
    const beta = (config: ScheduleConfig) =>
      within(parseSchedule(config), "annealing", "above 0 and at most 1", (value) => value > 0 && value <= 1);
    for (const config of [
      0,
      2,
      Number.NaN,
      { linear: { from: 0, to: 1 } },
      { cosine: { from: 0.5, to: { step: { from: 0.5, at: [10], factor: 3 } } } },
      { warmup: { steps: 5, to: 1 } },
      { step: { from: 1, at: [5], factor: -1 } },
    ]) {
      assert.throws(() => beta(config), /^UserError: annealing is .*it must be above 0 and at most 1$/);
    }
    for (let step = 0; step <= 100; step++)
      assert.ok(beta({ cosine: { from: 1, to: 0.3 } })(at(step)) <= 1, "rounding stays within the ends");
    assert.throws(() => parseSchedule({ exponential: { from: 0, to: 1 } }), UserError);
  });

  it("refuse a function's value at the first step where it is not allowed", () => {
    const beta = within(
      schedule((clock) => clock.step),
      "annealing",
      "at most 3",
      (value) => value <= 3,
    );
    assert.equal(beta(at(3)), 3);
    assert.throws(() => beta(at(4)), /annealing is 4 \(\(clock\) => clock\.step\)/);
  });
});
