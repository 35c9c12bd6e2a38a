import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";
import { plugin as pluginSchema } from "../../src/config/schema.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { checked } from "../../src/plugins/checked.ts";
import { directions } from "../../src/plugins/random.ts";
import { openPlugin } from "../../src/plugins/registry.ts";

const PAGE = join(packageRoot, "docs/extending.md");

describe("docs/extending.md", () => {
  it("shows diffs of lines that are in the files as they are now", async () => {
    let [diffs, removed, file] = [0, 0, ""];
    for (const [, diff = ""] of (await readFile(PAGE, "utf8")).matchAll(/```diff\n(.*?)```/gs)) {
      diffs++;
      for (const line of diff.trimEnd().split("\n")) {
        const named = /^ ([\w./-]+\.(ts|py))/.exec(line)?.[1];
        if (named !== undefined) file = named;
        else if (!line.startsWith("+")) {
          const lines = (await readFile(join(packageRoot, file), "utf8")).split("\n");
          const wanted = line.slice(1).trim();
          assert.ok(
            lines.some((each) => each.includes(wanted)),
            `${file} has no line ${wanted}`,
          );
          removed++;
        }
      }
    }
    assert.ok(diffs > 4 && removed > 10, `${removed} lines in ${diffs} diffs`);
  });

  it("shows a plugin that runs as it stands, keeps its contract and continues from its state", async () => {
    await openBackend("wasm");
    const page = await readFile(PAGE, "utf8");
    const [, code] = /## A plugin\n.*?```ts\n(.*?)```/s.exec(page) ?? [];
    assert.ok(code);
    // In the package's folder, so that "mixhead/plugins" is this package.
    const folder = await mkdtemp(join(packageRoot, ".extending-"));
    try {
      const file = join(folder, "followers.ts");
      await writeFile(file, code);
      const config = pluginSchema.parse({ kind: file, components: 8 });
      const open = async () => checked(await openPlugin(config, { dim: 4, seed: 0 }), "followers");
      const [one, other] = [await open(), await open()];
      const clock = { step: 0, steps: 10, epoch: 0 };
      const h = directions(32, 4, 1, "rows");
      for (let step = 0; step < 3; step++) (await one.step(h, { ...clock, step })).responsibilities.dispose();
      other.load(await one.state());
      for (const plugin of [one, other])
        (await plugin.step(h, { ...clock, step: 3 })).responsibilities.dispose();
      assert.deepEqual(await other.state(), await one.state());
      assert.notDeepEqual(await one.prototypes().data(), await directions(8, 4, 0, "followers").data());
      for (const plugin of [one, other]) plugin.dispose();
      tf.dispose(h);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
