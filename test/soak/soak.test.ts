import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Sample } from "./samples.ts";
import { soak } from "./soak.ts";
import { verdict } from "./verdict.ts";

const flat: Sample = {
  step: 0,
  nodeBytes: 2e8,
  heapBytes: 1e8,
  nodeHandles: 10,
  nodeFiles: 30,
  tensors: 50,
  workerBytes: 4e8,
  workerFiles: 20,
  workerThreads: 5,
  seconds: 0,
};
/** A hundred samples of a run, each quantity as at the start, but for what is given. */
const samples = (change: (at: number) => Partial<Sample>): Sample[] =>
  Array.from({ length: 100 }, (_, at) => ({ ...flat, step: 10 * at, seconds: at, ...change(at) }));
const problems = (change: (at: number) => Partial<Sample>) =>
  verdict(samples(change)).flatMap(({ problem }) => problem ?? []);

describe("a long run", function () {
  this.timeout(240_000);

  it("passes if nothing grows, whatever the first tenth was like", () => {
    assert.deepEqual(
      problems(() => ({})),
      [],
    );
    assert.deepEqual(
      problems((at) => (at < 10 ? { tensors: 9, nodeBytes: 1e7, seconds: 3 * at } : { seconds: 20 + at })),
      [],
    );
  });

  it("fails if something grows, with the figures", () => {
    assert.deepEqual(
      problems((at) => ({ tensors: 50 + Math.floor(at / 20) })),
      ["tensors: 50 after the first tenth, 54 at the end"],
    );
    assert.match(
      problems((at) => ({ workerBytes: 4e8 + at * 1e6 })).join(),
      /^memory of the worker: .* MiB at the end$/,
    );
    assert.match(problems((at) => ({ seconds: at ** 2 })).join(), /^processor time a step/);
  });

  // `npm run soak` does the same for 100,000 steps, when leaks of a few bytes a step show, too.
  for (const placement of ["host", "device"] as const)
    it(`holds as many tensors, files and threads at its end as in its middle, placement ${placement}`, async function () {
      if (process.platform !== "linux") this.skip();
      const before = process.cwd();
      const folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
      process.chdir(folder);
      try {
        const rows = verdict(await soak(placement, 200, 0));
        const held = rows.filter(({ name }) => /tensors|files|threads/.test(name));
        assert.deepEqual(
          held.flatMap(({ problem }) => problem ?? []),
          [],
        );
      } finally {
        process.chdir(before);
        await rm(folder, { recursive: true });
      }
    });
});
