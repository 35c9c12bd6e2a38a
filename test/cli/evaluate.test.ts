import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import { openRun } from "../../src/experiment/run-folder.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { pythonPath } from "../../src/files/python.ts";
import { readSafetensors } from "../../src/files/safetensors.ts";
import { runPython } from "../reference/python.ts";
import { mixhead, tiny } from "./command.ts";

/** A run called demo with an untrained encoder as its checkpoint, on so few images that it takes seconds. */
async function demo(settings: object): Promise<string> {
  const config = resolveConfig({ device: "cpu", ...settings });
  const run = await openRun("demo", new Map([["decoupled", config]]), [0]);
  const checkpoint = join(run.folder, "decoupled", "checkpoints", "step-0000040");
  await mkdir(checkpoint, { recursive: true });
  await runPython("encoder.py", config.encoder.name, join(checkpoint, "encoder.safetensors"));
  return checkpoint;
}

// Hooks outside of a suite would run for every file.
describe("in a folder of its own", () => {
  const here = process.cwd();
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-evaluate-"));
    process.chdir(folder);
  });
  afterEach(async () => {
    process.chdir(here);
    await rm(folder, { recursive: true });
  });

  describe("mixhead evaluate", () => {
    it("evaluates a run on its own data, a long-tailed one with balanced references too", async () => {
      await demo({ data: { name: "cifar10-lt", train: 400, test: 100 } });
      const { status, stdout, stderr } = await mixhead(folder, "evaluate", "demo", "--json");
      assert.equal(status, 0, stderr);
      const figures = JSON.parse(stdout);
      assert.deepEqual(Object.keys(figures), [
        "knn",
        "linear",
        "linearRate",
        "perClass",
        "groups",
        "balanced",
      ]);
      assert.deepEqual(Object.keys(figures.knn), ["10", "20", "100", "200"]);
      assert.deepEqual(Object.keys(figures.groups), ["head", "medium", "tail"]);
      assert.notDeepEqual(figures.balanced.knn, figures.knn);
    });

    function saveFeatures(labels: string): void {
      const script = `import numpy as np; x = np.random.default_rng(0).normal(size=(60, 4)); y = np.arange(60) % 3
np.savez("f.npz", train_x=x + y[:, None], train_y=${labels}, test_x=x, test_y=y)`;
      execFileSync(pythonPath(), ["-c", script]);
    }

    it("evaluates saved features, as tables for people", async () => {
      saveFeatures("y");
      const { status, stdout } = await mixhead(folder, "evaluate", "f.npz");
      assert.equal(status, 0);
      assert.match(stdout, /^f\.npz\n\nk-NN, k = 10 +\d+\.\d %\n/);
      assert.match(stdout, /\n +k-NN +linear\nclass 0 +\d+\.\d % +\d+\.\d %\nclass 1 /);
    });

    for (const needless of [["--arm", "x"], ["--seed", "1"], ["data.test=100"]]) {
      it(`refuses ${needless[0]} for saved features, where it has no effect`, async () => {
        const { status, stderr } = await mixhead(folder, "evaluate", "f.npz", ...needless);
        assert.equal(status, 2);
        assert.equal(
          stderr,
          `mixhead: f.npz holds features, to which no setting applies: leave out ${needless[0]}\n`,
        );
      });
    }

    it("reports a fault of saved features in one sentence", async () => {
      saveFeatures("y + 0.5");
      const bad = await mixhead(folder, "evaluate", "f.npz", "--json");
      assert.deepEqual([bad.status, bad.stdout], [2, ""]);
      assert.equal(bad.stderr, "mixhead: f.npz: row 0 of train_y is 0.5; labels are whole numbers from 0\n");
    });
  });

  describe("a finished training", () => {
    const config = join(packageRoot, "configs", "demo", "decoupled.yaml");
    const here = join("runs", "lt", "decoupled");

    it("leaves what `mixhead evaluate` prints, a summary, and the images near its prototypes", async () => {
      const train = await mixhead(folder, "train", config, ...tiny, "data.name=cifar10-lt", "--name", "lt");
      assert.equal(train.status, 0, train.stderr);
      assert.match(train.stdout, /decoupled, balanced references +\d+\.\d %/);
      const left = await readFile(join(here, "evaluation.json"), "utf8");
      assert.equal(left, (await mixhead(folder, "evaluate", "lt", "--json")).stdout);
      const figures = JSON.parse(left);
      const { arms } = JSON.parse(await readFile("runs/lt/summary.json", "utf8"));
      assert.equal(arms.decoupled.knn, figures.knn["20"]);
      assert.equal(arms.decoupled.linear, figures.linear);
      assert.deepEqual(arms.decoupled.groups, figures.groups);
      assert.equal(arms.decoupled.balanced.linear, figures.balanced.linear);
      const { nearestPrototypes, nearestImages, nearestLabels } = (
        await readSafetensors(join(here, "nearest.safetensors"))
      ).tensors;
      const [shown = 0] = nearestPrototypes?.shape ?? [];
      assert.ok(shown > 0 && shown <= 12);
      assert.deepEqual(nearestImages?.shape, [shown, 8, 32, 32, 3]);
      assert.deepEqual(nearestLabels?.shape, [shown, 8]);

      // As runs of earlier versions are.
      for (const file of ["evaluation.json", "nearest.safetensors"]) await rm(join(here, file));
      for (const command of ["report", "resume"]) {
        const { status, stderr } = await mixhead(folder, command, "lt");
        assert.equal(status, 0, stderr);
        const summary = JSON.parse(await readFile("runs/lt/summary.json", "utf8"));
        assert.equal(summary.arms.decoupled.linear, undefined);
        assert.equal(summary.arms.decoupled.knn, arms.decoupled.knn);
      }
    });
  });

  describe("mixhead export", () => {
    it("prints lines that load the file without mixhead, and does not replace a file", async () => {
      await demo({ encoder: { name: "conv-small" } });
      const { status, stdout, stderr } = await mixhead(folder, "export", "demo", "out/encoder.safetensors");
      assert.equal(status, 0, stderr);
      const [what, images, empty, ...lines] = stdout.split("\n");
      assert.match(
        what ?? "",
        /^out\/encoder\.safetensors: the encoder of demo, decoupled, step 40 \(conv-small/,
      );
      assert.match(images ?? "", /32 x 32.*mean 0\.4914, 0\.4822, 0\.4465/);
      assert.equal(empty, "");
      const check = "print(tuple(encoder(torch.zeros(2, 3, 32, 32)).shape))";
      const script = ["import sys; sys.modules['mixhead'] = None", ...lines, check].join("\n");
      assert.equal(execFileSync(pythonPath(), ["-c", script], { encoding: "utf8" }), "(2, 128)\n");

      const before = await readFile("out/encoder.safetensors");
      const again = await mixhead(folder, "export", "demo", "out/encoder.safetensors");
      assert.equal(again.status, 2);
      assert.match(
        again.stderr,
        /out\/encoder\.safetensors exists: choose another name, or replace it with --force/,
      );
      assert.deepEqual(await readFile("out/encoder.safetensors"), before);
    });

    it("writes the forms of file that it names, and no other", async () => {
      await demo({});
      const { status, stderr } = await mixhead(folder, "export", "demo", "encoder.onnx");
      assert.deepEqual(
        [status, stderr],
        [2, "mixhead: encoder.onnx: allowed file extensions: .safetensors, .pt, .pth\n"],
      );
    });
  });
});
