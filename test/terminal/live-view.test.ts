import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { resolveConfig } from "../../src/config/load.ts";
import { LiveView } from "../../src/terminal/live-view.ts";

describe("the progress lines of a run", () => {
  it("say at which step k-NN, uniqueness and use were measured", () => {
    const stream = new PassThrough({ encoding: "utf8" });
    const view = new LiveView(stream, 0);
    const job = { arm: "joint", seed: 0, label: "joint", config: resolveConfig({}), folder: "" };
    view.started(job, 0, 500);
    view.progress(job, 10, { step: 10, loss: 6.5 });
    const evaluation = {
      step: 250,
      knn: 0.412,
      unique: { "0.5": 0.98 },
      distinctUsed: { "0.5": 0.2 },
      used: 0.21,
      perplexity: 9,
      seconds: 1,
    };
    view.progress(job, 250, { ...evaluation, loss: 5.25 });
    view.progress(job, 260, { step: 260, loss: 5.125 });
    view.close();
    const lines = String(stream.read()).trimEnd().split("\n");
    assert.deepEqual(
      lines.map((line) => line.replace(/\d+s left/, "? left")),
      [
        "joint      step 10/500, ? left: loss 6.500",
        "joint      step 250/500, ? left: loss 5.250; at step 250: k-NN 41.2%, distinctUsed .5 0.20, unique 0.98, used 0.21",
        "joint      step 260/500, ? left: loss 5.125; at step 250: k-NN 41.2%, distinctUsed .5 0.20, unique 0.98, used 0.21",
      ],
    );
  });
});
