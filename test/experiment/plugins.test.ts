import assert from "node:assert/strict";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configYaml } from "../../src/config/load.ts";
import { mixhead, tiny } from "../cli/command.ts";
import { leavings } from "./leavings.ts";

const kinds = ["kmeans", "sinkhorn", "frozen"];

describe("the plugins beside the mixture", function () {
  this.timeout(300_000);

  it("train an encoder, and resume from a checkpoint bit for bit", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    const files = await Promise.all(
      kinds.map(async (kind) => {
        const file = join(folder, `${kind}.yaml`);
        await writeFile(file, configYaml({ plugin: { kind } }));
        return file;
      }),
    );
    const run = (name: string) => join(folder, "runs", name);
    const done = await mixhead(folder, "compare", ...files, ...tiny, "--name", "whole");
    assert.equal(done.status, 0, done.stderr);
    const whole = await leavings(run("whole"), kinds);
    for (const { arm, checkpoints, hashes } of whole) {
      assert.deepEqual(checkpoints, ["step-0000004", "step-0000008"], arm);
      assert.equal(hashes.length, 7, "encoder, head, student, mixture, evaluation, probe, images");
    }
    assert.equal(
      new Set(whole.map(({ hashes }) => hashes.join())).size,
      kinds.length,
      "each learns otherwise",
    );

    // As a run is that was ended after step 4.
    await cp(run("whole"), run("broken"), { recursive: true });
    await rm(join(run("broken"), "summary.json"));
    for (const kind of kinds)
      await rm(join(run("broken"), kind, "checkpoints", "step-0000008"), { recursive: true });
    const again = await mixhead(folder, "resume", "broken");
    assert.equal(again.status, 0, again.stderr);
    assert.deepEqual(await leavings(run("broken"), kinds), whole);
    await rm(folder, { recursive: true });
  });
});
