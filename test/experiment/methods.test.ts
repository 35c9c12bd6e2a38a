import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configYaml } from "../../src/config/load.ts";
import { METHOD_NAMES } from "../../src/config/method.ts";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { mixhead, tiny } from "../cli/command.ts";

const vit = { encoder: { name: "vit-tiny-32" } };
const koleo = { train: { koleo: 0.1 } };

/**
 * Every method's joint arm, with KoLeo; frozen prototypes for rows of images and of patches. placement.test.ts trains
 * every method's decoupled arm.
 */
const arms: Record<string, object> = {
  ...Object.fromEntries(
    METHOD_NAMES.map((method) => [
      `${method}-joint`,
      { method, prototypes: "joint", ...(method === "ibot" && vit), ...koleo },
    ]),
  ),
  "dino-frozen": { prototypes: "frozen" },
  "ibot-frozen": { method: "ibot", ...vit, prototypes: "frozen" },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  await mkdir(join(folder, "configs"));
});
afterEach(() => rm(folder, { recursive: true }));

async function written(name: string, settings: object): Promise<string> {
  const file = join(folder, "configs", `${name}.yaml`);
  await writeFile(file, configYaml(settings));
  return file;
}

describe("methods", function () {
  this.timeout(600_000);

  it("train, joint and with frozen prototypes, side by side", async () => {
    const files = await Promise.all(Object.entries(arms).map(([name, settings]) => written(name, settings)));
    const done = await mixhead(
      folder,
      "compare",
      ...files,
      ...tiny,
      "data.train=200",
      "data.test=100",
      "train.evaluateEvery=8",
      "train.checkpointEvery=4",
      "--name",
      "methods",
    );
    assert.equal(done.status, 0, done.stderr);
    for (const arm of Object.keys(arms)) {
      const run = join(folder, "runs", "methods", arm);
      const last = (await readMetrics(join(run, "metrics.jsonl"))).at(-1);
      assert.equal(last?.step, 8, arm);
      assert.ok(Number.isFinite(last?.loss) && Number(last?.gradNorm) > 0, `${arm}: ${JSON.stringify(last)}`);
      assert.equal(Number.isFinite(last?.koleo), arm.endsWith("-joint"), arm);
      assert.ok(existsSync(join(run, "checkpoints", "step-0000008", "encoder.safetensors")), arm);
    }
    const prototypes = (arm: string, step: number) =>
      readFile(
        join(folder, "runs", "methods", arm, "checkpoints", `step-000000${step}`, "mixture.safetensors"),
      );
    const start = await prototypes("dino-frozen", 4);
    for (const arm of ["dino-frozen", "ibot-frozen"]) {
      for (const step of [4, 8]) assert.ok(start.equals(await prototypes(arm, step)), `${arm}, but moved`);
    }
  });

  it("refuse what cannot be trained with one sentence, before anything is written", async () => {
    const done = await mixhead(folder, "train", await written("bad", { method: "ibot" }), "--name", "bad");
    assert.equal(done.status, 2);
    assert.match(done.stderr, /vision transformer .*; conv-small has no patches/);
    assert.equal(done.stderr.trim().split("\n").length, 1, done.stderr);
    assert.ok(!existsSync(join(folder, "runs")));
  });
});
