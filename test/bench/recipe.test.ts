import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { meanLines, runLines } from "../../bench/recipe.ts";
import { keepTrained, readTrained } from "../../bench/trained.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { pythonPath } from "../../src/files/python.ts";
import { Workplace } from "../api/support.ts";
import { leaveRun } from "../experiment/leave-run.ts";

const script = (name: string) => join(packageRoot, "bench", name);

describe("the table of a plan's runs", () => {
  const place = new Workplace();
  before(() => place.enter());
  after(() => place.leave());

  it("compares arms over the seeds that both have at the same step", async () => {
    for (const seed of [0, 1, 2]) {
      await leaveRun(`b-s${seed}`, { arms: ["joint"], seeds: [seed] });
      const reached = () => (seed === 2 ? 50 : 100);
      await leaveRun(`a-s${seed}`, { arms: ["decoupled"], seeds: [seed], reached });
    }
    await leaveRun("never-s0", { arms: ["joint"], reached: () => -1 });
    const trained = await readTrained("runs");
    const [headings, first] = runLines(trained);
    assert.deepEqual(headings?.slice(0, 4), ["run", "seed", "step", "k-NN"]);
    assert.deepEqual(
      [first?.slice(0, 4), first?.at(-1)?.trim()],
      [["a", "0", "100", "40.0"], "every 50: 30.0 35.0 40.0"],
    );
    const means = meanLines(trained, "b").map((line) => line.slice(0, 4));
    assert.deepEqual(means, [
      ["mean", "seeds", "step", "k-NN"],
      ["a", "2", "100", "40.5 (+0.0 [0.0, 0.0])"],
      ["b", "3", "100", "41.0 [38.5, 43.5]"],
    ]);
    assert.throws(() => meanLines(trained, "c"), {
      message: "there is no evaluated run called c; there are a, b",
    });
  });
});

describe("what is kept of a plan's runs", () => {
  const place = new Workplace();
  before(() => place.enter());
  after(() => place.leave());

  it("reads back as it was read from the folder, each run named by its difference from the base", async () => {
    const settings = { data: { train: 1000, heldOut: 500 } };
    await leaveRun("a-s0", { arms: ["decoupled"] });
    await leaveRun("b-s0", { arms: ["decoupled"], settings: { head: { dim: 256 } } });
    await leaveRun("c-s1", { arms: ["joint"], seeds: [1], settings, older: true });
    const trained = await readTrained("runs");
    for (const base of ["a", "c"]) {
      await keepTrained("kept.json", trained, base);
      assert.deepEqual(await readTrained("kept.json"), trained);
    }
    await keepTrained("kept.json", trained, "a");
    const kept = await readFile("kept.json", "utf8");
    assert.match(kept, /"name":"a","seed":0,"settings":\{\}/);
    assert.match(kept, /"name":"b","seed":0,"settings":\{"head.dim":256\}/);
  });

  it("is recognised among other files", async () => {
    await writeFile("other.json", '{"base": {}, "runs": [{}]}');
    await assert.rejects(readTrained("other.json"), {
      message: "other.json: neither a folder of runs nor a file that recipe-table --keep wrote",
    });
  });
});

describe("what goes to a GPU machine", () => {
  const place = new Workplace();
  before(() => place.enter());
  after(() => place.leave());

  it("has all images once all parts have arrived, one after the other", () => {
    const check = `
import shutil, subprocess, sys
from pathlib import Path
import numpy as np
bench = sys.argv[1]
data = Path("cifar10"); data.mkdir()
images = {s: np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), np.uint8) for s, n in (("train", 701), ("test", 20))}
for split, pixels in images.items():
    np.save(data / f"{split}.npy", pixels)
    (data / f"{split}_lables.json").write_text("[]")
run = lambda *words: subprocess.run([sys.executable, bench, *words], check=True)
run("pack", "cifar10", "part", "--train", "700", "--test", "20", "--megabytes", "2")
shutil.move("part-2", "later")
run("unpack", "part", "there")
assert Path("there/missing").read_text().split()[0] == "train-00500.webp"
shutil.rmtree("part"); shutil.move("later", "part-2")
for _ in range(2):
    run("unpack", "part", "there")
assert Path("there/missing").read_text() == ""
train, test = (np.load(f"there/{split}.npy", mmap_mode="r") for split in ("train", "test"))
assert train.shape == (50_000, 3, 32, 32) and (train[:700] == images["train"][:700]).all() and not train[700].any()
assert (test[:20] == images["test"]).all()
`;
    execFileSync(pythonPath(), ["-c", check, script("gpu_data.py")], { stdio: "pipe" });
  });

  it("trains as the plan says, and stops at the limit what is under way", async () => {
    const plan = (text: string) => writeFile("plan.txt", text);
    const runToEnd = () => {
      const call = [
        "sh",
        "-c",
        'echo "$@"; case "$*" in *long=1*) exec sleep 60;; *bad=1*) exit 3;; esac',
        "sh",
      ];
      const args = [script("gpu_runs.py"), "plan.txt", "--jobs", "2", "--limit", "2", "--", ...call];
      return spawnSync(pythonPath(), args, { encoding: "utf8" });
    };
    await plan("# longest first\na 0 long=1\n\nb 1 bad=1 x=2 # why\nc 2 long=1\nd 3 long=1\n");
    const { status, stdout } = runToEnd();
    assert.equal(status, 1);
    assert.deepEqual(stdout.trim().split("\n"), [
      "b-s1 failed: bad=1 x=2 seed=1 --name b-s1",
      "a-s0 was stopped at a checkpoint",
      "c-s2 was stopped at a checkpoint",
      "d-s3 was not begun",
    ]);
    assert.equal(await readFile("runs/a-s0.log", "utf8"), "long=1 seed=0 --name a-s0\n");
    await plan("a 0\nb x\n");
    assert.match(runToEnd().stderr, /^plan.txt, line 2: write NAME SEED \[KEY=VALUE \.\.\.\]$/m);
    await plan("a 0\na 0 x=1\n");
    assert.match(runToEnd().stderr, /^plan.txt, line 2: a with seed 0 is there already$/m);
  });
});
