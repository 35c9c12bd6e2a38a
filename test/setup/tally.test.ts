import assert from "node:assert/strict";
import { mochaTally, pytestTally, sum, tallyText, withStatus } from "../../src/setup/tally.ts";

describe("the closing line of npm test", () => {
  it("adds the tests of every runner", () => {
    const mocha = mochaTally(
      "  \x1b[32m ✔\x1b[0m a test\n\n  12 passing (3s)\n  2 pending\n  1 failing\n\n  1) it\n",
    );
    const pytest = pytestTally(
      '<?xml version="1.0"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="20" time="1.5">',
    );
    assert.deepEqual(mocha, { passed: 12, failed: 1, skipped: 2 });
    assert.deepEqual(pytest, { passed: 14, failed: 3, skipped: 3 });
    assert.equal(tallyText(sum([mocha, pytest])), "26 passed, 4 failed, 5 skipped");
  });

  it("names skipped tests only if there are some", () => {
    assert.equal(tallyText({ passed: 3, failed: 0, skipped: 0 }), "3 passed, 0 failed");
  });

  it("takes mocha's own counts, even in colour, and ignores what a test printed before them", () => {
    assert.deepEqual(
      mochaTally("  99 passing\n\n\x1b[92m \x1b[0m\x1b[32m 4 passing\x1b[0m\x1b[90m (9ms)\x1b[0m\n"),
      {
        passed: 4,
        failed: 0,
        skipped: 0,
      },
    );
  });

  it("counts a linter that fails, and a runner that breaks down, as one failure", () => {
    assert.equal(withStatus({ passed: 0, failed: 0, skipped: 0 }, 1).failed, 1);
    assert.equal(withStatus(mochaTally("SyntaxError: no test was loaded"), 1).failed, 1);
    assert.equal(withStatus(pytestTally(""), 4).failed, 1);
  });

  it("counts failing tests once, whatever the exit status", () => {
    assert.equal(withStatus({ passed: 5, failed: 2, skipped: 0 }, 2).failed, 2);
    assert.equal(withStatus({ passed: 5, failed: 0, skipped: 0 }, 0).failed, 0);
  });
});
