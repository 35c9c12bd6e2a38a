import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";
import { mixhead, tiny } from "../cli/command.ts";
import { runPython } from "../reference/python.ts";
import { leavings } from "./leavings.ts";

const arms = ["joint", "decoupled"];
const configs = arms.map((arm) => join(packageRoot, "configs", "demo", `${arm}.yaml`));

describe("a run that is made longer", function () {
  this.timeout(300_000);
  let folder: string;
  const run = (name: string) => join(folder, "runs", name);
  const record = () => readFile(join(run("short"), "config.yaml"), "utf8");
  const train = async (name: string, stop: number) => {
    const { status, stderr } = await mixhead(
      folder,
      ...["compare", ...configs, ...tiny, "plugin.annealing={cosine: {from: 0.2, to: 1}}"],
      ...[`train.stop=${stop}`, "--name", name],
    );
    assert.equal(status, 0, stderr);
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    await train("short", 6); // where neither an evaluation nor a checkpoint is due
  });
  after(() => rm(folder, { recursive: true }));

  it("leaves bit for bit the files of a run that had this end from the start, including its record", async () => {
    await train("whole", 16);
    const { status, stderr } = await mixhead(folder, "resume", "short", "train.stop=16");
    assert.equal(status, 0, stderr);
    assert.deepEqual(await leavings(run("short"), arms), await leavings(run("whole"), arms));
    assert.equal(await record(), await readFile(join(run("whole"), "config.yaml"), "utf8"));
    for (const arm of arms) {
      const file = (name: string) => join(run(name), arm, "checkpoints", "step-0000016", "training.pt");
      assert.equal(await runPython("equal.py", file("short"), file("whole")), "");
    }
  });
});
