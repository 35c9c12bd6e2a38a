import assert from "node:assert/strict";
import { resolveConfig } from "../../src/config/load.ts";
import type { Job } from "../../src/experiment/run-folder.ts";
import { warnings } from "../../src/experiment/warn.ts";

const job = (arm: string): Job => ({ arm, seed: 0, label: arm, config: resolveConfig({}), folder: arm });

describe("warnings while a run trains", () => {
  it("are printed once for each training and kind, as soon as they arise", () => {
    const said: string[] = [];
    const hook = warnings((text) => said.push(text));
    const [joint, decoupled] = [job("joint"), job("decoupled")];
    for (let step = 10; step <= 500; step += 10) {
      hook(joint, { step, loss: 6, spread: 0.01 });
      hook(decoupled, { step, loss: step < 400 ? 6 : Number.NaN, spread: 0.8 });
    }
    assert.deepEqual(
      said.map((text) => text.slice(0, text.indexOf(":"))),
      ["joint, step 260", "decoupled, step 400"],
    );
  });

  it("leave out notes, which ask for no decision", () => {
    const hook = warnings(() => assert.fail("a note was said"));
    hook(job("decoupled"), { step: 250, knn: 0.4, used: 0.1, perplexity: 9, unique: { "0.5": 1 } });
  });
});
