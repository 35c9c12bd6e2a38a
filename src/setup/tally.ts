/** Tests by their outcome. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

export const NONE: Tally = { passed: 0, failed: 0, skipped: 0 };

/** The counts of mocha's spec reporter, from the end of its output. */
export function mochaTally(output: string): Tally {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape that starts a terminal's colours
  const plain = output.replace(/\x1b\[[0-9;]*m/g, "");
  const count = (word: string) => {
    const last = [...plain.matchAll(new RegExp(`^ +(\\d+) ${word}\\b`, "gm"))].at(-1);
    return Number(last?.[1] ?? 0);
  };
  return { passed: count("passing"), failed: count("failing"), skipped: count("pending") };
}

/** The counts of pytest, from its JUnit XML. */
export function pytestTally(xml: string): Tally {
  const suite = /<testsuite [^>]*>/.exec(xml)?.[0] ?? "";
  const count = (attribute: string) => Number(new RegExp(` ${attribute}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = count("failures") + count("errors");
  const skipped = count("skipped");
  return { passed: Math.max(0, count("tests") - failed - skipped), failed, skipped };
}

/**
 * A check's tally, corrected by its exit status. A check that failed without a failed test, such as a
 * linter or a runner that crashed, counts as one failure.
 */
export function withStatus(tally: Tally, status: number): Tally {
  return status !== 0 && tally.failed === 0 ? { ...tally, failed: 1 } : tally;
}

export function sum(tallies: readonly Tally[]): Tally {
  return tallies.reduce(
    (a, b) => ({ passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped }),
    NONE,
  );
}

/** "3 passed, 1 failed", with ", 2 skipped" if there are any. */
export function tallyText({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
