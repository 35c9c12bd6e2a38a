import assert from "node:assert/strict";
import { interval } from "../../src/experiment/statistics.ts";
import { reachOf } from "../../src/metrics/student.ts";
import { overSeeds } from "../../src/report/over-seeds.ts";

describe("curves over seeds", () => {
  const curve = (...ys: number[]) => ys.map((y, x) => ({ x, y }));

  it("are means with Student's 95 % intervals", () => {
    const [first, second] = overSeeds([curve(1, 4), curve(2, 4), curve(6, 4)], 100, reachOf);
    assert.equal(first?.y, 3);
    assert.deepEqual([first?.low, first?.high], interval([1, 2, 6]));
    assert.deepEqual(second, { x: 1, y: 4, low: 4, high: 4 });
  });

  it("use the seeds so far; a single seed has no interval", () => {
    assert.deepEqual(overSeeds([curve(1, 2, 3), curve(1)], 100, reachOf).slice(1), [
      { x: 1, y: 2 },
      { x: 2, y: 3 },
    ]);
  });

  it("average neighbouring steps if there are many, each seed's first, then over the seeds", () => {
    const seeds = [curve(0, 2, 4, 6, 8), curve(2, 4, 6, 8, 10)];
    const points = overSeeds(seeds, 3, reachOf);
    assert.deepEqual(
      points.map(({ x, y }) => [x, y]),
      [
        [0.5, 2],
        [2.5, 6],
        [4, 9],
      ],
    );
    assert.deepEqual([points[0]?.low, points[0]?.high], interval([1, 3]));
  });

  it("are empty if no seed has a value", () => {
    assert.deepEqual(overSeeds([[], []], 10, reachOf), []);
  });
});
