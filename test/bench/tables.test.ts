import assert from "node:assert/strict";
import type { Result, Row } from "../../bench/figure.ts";
import { spread } from "../../bench/statistics.ts";
import { footnotes, markdownTable, tableOf } from "../../bench/tables.ts";

const result = (...rows: Row[]): Result => ({
  figure: "invented",
  title: "Invented",
  how: "Invented.",
  when: "2026-01-02T03:04:05.000Z",
  revision: "abc1234",
  machine: { cpu: "A CPU", cores: 2, card: null, threads: 2, torch: "2", python: "3", node: "20" },
  rows,
});
const ms = (...samples: number[]) => ({ unit: "ms", samples });

describe("the tables of figures", () => {
  it("compare arms round by round, so that what slows a whole round is not in the ratio", () => {
    const table = tableOf(
      result({
        setting: { K: 8192 },
        arms: { joint: ms(100, 300, 110), device: ms(80, 240, 88) },
        ratios: [{ of: "device", to: "joint", atMost: 1 }],
      }),
    );
    assert.deepEqual(table, [
      ["K", "joint, ms", "device, ms", "device / joint", "goal"],
      ["8,192", "110 (100 to 300)", "88 (80 to 240)", "0.8 (0.8 to 0.8)", "≤ 1"],
    ]);
  });

  it("give the reason for an arm without figures once, and leave out its columns", () => {
    const broken = { missing: "there is no such placement" };
    const row: Row = {
      setting: { K: 1 },
      arms: { joint: ms(1), device: broken, other: broken },
      ratios: [{ of: "device", to: "joint" }],
    };
    const whole: Row = { ...row, setting: { K: 2 }, arms: { ...row.arms, device: ms(2) } };
    assert.deepEqual(tableOf(result(row, whole)), [
      ["K", "joint, ms", "device, ms", "device / joint"],
      ["1", "1", "–", ""],
      ["2", "1", "2", "2"],
    ]);
    assert.equal(footnotes(result(row, row)).at(-1), "Nothing of device; other: there is no such placement.");
  });

  it("put a unit that holds for a whole column above it, and else beside each number", () => {
    const step: Row = { setting: { what: "step" }, arms: { joint: ms(12.34) }, ratios: [] };
    const share: Row = {
      setting: { what: "waits" },
      arms: { joint: { unit: "%", samples: [0.5], atMost: 2 } },
      ratios: [],
    };
    assert.equal(
      markdownTable(result(step, share)),
      "| what | joint | goal |\n| --- | --- | --- |\n| step | 12.3 ms |  |\n| waits | 0.5 % | ≤ 2 |",
    );
  });

  it("take the mean of the two middle values as the median of an even number", () => {
    assert.deepEqual(spread([4, 1, 3, 2]), { median: 2.5, least: 1, greatest: 4 });
    assert.deepEqual(spread([3, 1, 2]), { median: 2, least: 1, greatest: 3 });
  });
});
