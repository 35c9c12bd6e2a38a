import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeNpy } from "../../src/files/npy.ts";
import { randomRows } from "../metrics/rows.ts";
import { mixhead } from "./command.ts";

/** A plugin that interrupts its own process in its first step, or only when all steps are taken. */
const interrupting = (when: "step" | "parameters") => `
  import { frozen } from "${join(process.cwd(), "src/plugins/frozen.ts")}";
  const interrupt = () => process.kill(process.pid, "SIGINT");
  export default ({ components, dim, seed, config }) => {
    const plugin = frozen({ components, dim, seed, variance: config.variance, cutoff: 0, start: undefined });
    const ${when} = plugin.${when}.bind(plugin);
    plugin.${when} = async (...args) => {
      if (args[1] === undefined || args[1].step === 0) interrupt();
      return ${when}(...args);
    };
    return plugin;
  };`;

describe("mixhead fit", function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    const { rows, dim, data } = randomRows(600, 8, 1);
    await writeNpy(join(folder, "e.npy"), [rows, dim], data);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const fitted = (...args: string[]) =>
    mixhead(folder, "fit", "e.npy", "--out", "out", "plugin.components=8", ...args);

  it("ends early where it is interrupted between two measurements, with the mixture so far", async () => {
    await writeFile(join(folder, "early.ts"), interrupting("step"));
    const { status, stdout, stderr } = await fitted(
      "plugin.kind=./early.ts",
      "fit.batch=1",
      "fit.measureEvery=10000",
    );
    assert.equal(status, 1, stderr);
    assert.match(stderr, /ended early; out holds the mixture so far/);
    assert.ok(Number(/^(\d+) steps/.exec(stdout)?.[1]) < 600, stdout);
    assert.deepEqual((await readdir(join(folder, "out"))).sort(), ["metrics.jsonl", "mixture.safetensors"]);
  });

  it("did not end early where an interruption found no step left", async () => {
    await writeFile(join(folder, "late.ts"), interrupting("parameters"));
    const { status, stdout, stderr } = await fitted("plugin.kind=./late.ts");
    assert.match(stdout, /^3 steps/);
    assert.doesNotMatch(stderr, /ended early/);
    assert.equal(status, 0, stderr);
  });

  it("answers a folder that cannot be one with a sentence and exit status 2", async () => {
    await writeFile(join(folder, "out"), "a file");
    const { status, stderr } = await fitted();
    assert.match(stderr, /^mixhead: cannot write out\/metrics\.jsonl: a part of its path is not a folder$/m);
    assert.equal(status, 2);
    assert.equal(await readFile(join(folder, "out"), "utf8"), "a file");
  });
});
