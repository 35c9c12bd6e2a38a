import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";
import { tiny } from "../cli/command.ts";

const CONFIG = join(packageRoot, "configs", "demo", "decoupled.yaml");
const PROGRAM = `${process.execPath} ${join(packageRoot, "bin", "mixhead.mjs")}`;
const TRAIN = `${PROGRAM} train ${CONFIG} ${tiny.join(" ")} train.stop=12 --name mine`;
/** Holds one checkpoint and not two. */
const SMALL = "5500k";

describe("a training on a disk that is full or read-only", function () {
  this.timeout(600_000);
  let folder: string;

  before(function () {
    const mounts = spawnSync("unshare", ["-rm", "mount", "-t", "tmpfs", "tmpfs", tmpdir()]);
    if (mounts.status !== 0) this.skip(); // no mount is allowed here
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    await mkdir(join(folder, "disk"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** Runs a shell script in a file system of its own, of which `after/` has a copy at the end. */
  async function onSmallDisk(script: string): Promise<{ status: number | null; stderr: string }> {
    const before = `cd ${folder} && mount -t tmpfs -o size=${SMALL} tmpfs disk && cd disk || exit 99`;
    const whole = `${before}\n${script}\nstatus=$?\ncp -r runs ../after\nexit $status`;
    const { status } = spawnSync("unshare", ["-rm", "sh", "-c", whole], {
      env: { ...process.env, OMP_NUM_THREADS: "1" },
    });
    return { status, stderr: await readFile(join(folder, "said"), "utf8") };
  }

  it("ends with 1, names the file, the cause and its last checkpoint, and keeps that", async () => {
    const { status, stderr } = await onSmallDisk(`${TRAIN} 2> ../said`);
    assert.equal(status, 1, stderr);
    assert.match(
      stderr,
      /^mixhead: decoupled: cannot write \S+: [Nn]o space (is )?left on( the)? device; its last checkpoint is of step 4$/m,
    );
    const left = await readdir(join(folder, "after", "mine", "decoupled", "checkpoints"));
    assert.ok(left.includes("step-0000004"), left.join());
  });

  it("waits if configured, says for what, and completes when there is space", async () => {
    const { status, stderr } = await onSmallDisk(
      `${TRAIN} train.diskFull=wait 2> ../said & pid=$!
       while kill -0 $pid && ! grep -q "the run waits" ../said; do sleep 0.1; done
       mount -o remount,size=200m . && wait $pid`,
    );
    assert.equal(status, 0, stderr);
    assert.match(
      stderr,
      /^decoupled: cannot write \S+: [Nn]o space .*; the run waits until it can be written/m,
    );
    const left = await readdir(join(folder, "after", "mine", "decoupled", "checkpoints"));
    assert.deepEqual(left.sort(), ["step-0000008", "step-0000012"]);
  });

  it("that is read-only is reported before anything starts, with status 1", async () => {
    const { status, stderr } = await onSmallDisk(
      `mount -o remount,size=200m . && ${TRAIN} train.stop=4 2> ../first || exit 98
       mount -o remount,ro . && ${PROGRAM} resume mine train.stop=8 2> ../said`,
    );
    assert.equal(status, 1, stderr);
    assert.match(stderr, /^mixhead: cannot write \S+\/runs\/mine\/lock: the file system is read-only$/m);
  });
});
