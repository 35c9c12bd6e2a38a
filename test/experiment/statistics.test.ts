import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { interval, pairedTest } from "../../src/experiment/statistics.ts";
import { pythonPath } from "../../src/files/python.ts";

const near = (found: number | undefined, expected: number) =>
  assert.ok(Math.abs((found ?? Number.NaN) - expected) < 1e-6, `${found} is not ${expected}`);

describe("an interval over seeds", () => {
  it("is Student's t: three values need 4.303 standard errors", () => {
    const [low, high] = interval([1, 2, 3]) ?? [];
    near(low, 2 - 4.3026527 / Math.sqrt(3));
    near(high, 2 + 4.3026527 / Math.sqrt(3));
    assert.equal(interval([1]), null);
  });
});

describe("a paired test over seeds", () => {
  const a = [0.561, 0.566, 0.549, 0.57];
  const b = [0.523, 0.534, 0.541, 0.529];

  it("is SciPy's ttest_rel: mean, interval and p", () => {
    const code = `import json, scipy.stats as s; r = s.ttest_rel(${JSON.stringify(a)}, ${JSON.stringify(b)}); print(json.dumps([*r.confidence_interval(), r.pvalue]))`;
    const [low, high, p] = JSON.parse(execFileSync(pythonPath(), ["-c", code], { encoding: "utf8" }));
    const found = pairedTest(a, b);
    near(found?.mean, 0.02975);
    near(found?.interval[0], low);
    near(found?.interval[1], high);
    near(found?.p, p);
    near(pairedTest(b, a)?.p, p);
  });

  it("needs two pairs, and is defined if all differences are equal", () => {
    assert.equal(pairedTest([1], [2]), null);
    assert.deepEqual(pairedTest([1, 2], [1, 2]), { mean: 0, interval: [0, 0], p: 1 });
    assert.deepEqual(pairedTest([2, 3], [1, 2]), { mean: 1, interval: [1, 1], p: 0 });
  });
});
