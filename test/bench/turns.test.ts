import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allSamples, inTurns } from "../../bench/turns.ts";

/** An arm that notes its name in a file at every round; `ends`: the round at which it fails. */
const arm = (file: string, name: string, ends = Number.POSITIVE_INFINITY) => ({
  command: [
    process.execPath,
    "-e",
    `const fs = require("node:fs");
     let round = 0;
     console.log("{}");
     require("node:readline").createInterface({ input: process.stdin }).on("line", () => {
       if (++round === ${ends}) { console.error("at its end"); process.exit(1); }
       fs.appendFileSync(${JSON.stringify(file)}, "${name}");
       console.log(JSON.stringify({ ms: round }));
     });`,
  ],
});
const quiet = { device: "cpu", note: () => {} } as const;

describe("arms that are measured in turns", () => {
  let folder: string;
  let file: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    file = join(folder, "order");
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("take a round each, A B A B, and give their samples by round", async () => {
    const answers = await inTurns({ a: arm(file, "a"), b: arm(file, "b") }, 3, quiet);
    assert.equal(await readFile(file, "utf8"), "ababab");
    const samples = { unit: "ms", samples: [1, 2, 3] };
    assert.deepEqual(allSamples(answers, "ms", "ms"), { a: samples, b: samples });
  });

  it("continue without an arm that fails, and keep its last words", async () => {
    const answers = await inTurns({ a: arm(file, "a", 2), b: arm(file, "b") }, 3, quiet);
    assert.equal(await readFile(file, "utf8"), "abbb");
    assert.deepEqual(answers.get("a"), { missing: "at its end" });
  });

  it("continue without one that does not start", async () => {
    const answers = await inTurns({ a: { command: ["/no/such/program"] }, b: arm(file, "b") }, 1, quiet);
    assert.equal(await readFile(file, "utf8"), "b");
    assert.match(JSON.stringify(answers.get("a")), /no.such.program/);
  });
});
