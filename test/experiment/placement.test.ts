import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { configYaml } from "../../src/config/load.ts";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { readSafetensors } from "../../src/files/safetensors.ts";
import { CommandLine, mixhead, tiny } from "../cli/command.ts";
import { groups, mistakes } from "../mixture/user-plugins.ts";
import { difference } from "../plugins/support.ts";
import { leavings } from "./leavings.ts";

const short = [
  ...tiny,
  "data.train=200",
  "data.test=100",
  "train.stop=4",
  "train.checkpointEvery=2",
  "train.evaluateEvery=4",
];
const LAST = 4;

/** Every method, every kind of plugin, and all that targets are made of and by, at least once. */
const arms: Record<string, object> = {
  dino: { plugin: { covariance: "diagonal", weights: "estimated" }, targets: { from: "responsibility" } },
  ibot: { method: "ibot", encoder: { name: "vit-tiny-32" }, targets: { by: "plugin" } },
  carp: { method: "carp", targets: { by: "plugin" }, plugin: { kind: "kmeans" } },
  "carp in blocks": {
    method: "carp",
    carp: { partition: "fixed", balance: "block" },
    plugin: { mixtures: 8, weights: "estimated" },
  },
  swav: { method: "swav", plugin: { kind: "sinkhorn" } },
  msn: { method: "msn", plugin: { covariance: "spherical", cutoff: 0.01 } },
  pmsn: { method: "pmsn", plugin: { kind: "FILE" } },
  "own targets": { plugin: { kind: "FILE" }, targets: { from: "plugin" } },
  "frozen arm": { prototypes: "frozen", targets: { by: "plugin", balance: "center" } },
  "frozen plugin": { plugin: { kind: "frozen" }, targets: { balance: "center" } },
  "center of responsibilities": { targets: { from: "responsibility", balance: "center" } },
  responsibilities: {
    plugin: { init: { from: "data" } },
    targets: { from: "responsibility", balance: "none" },
  },
  "no balance": { targets: { balance: "none" }, plugin: { annealing: { linear: { from: 0.5, to: 1 } } } },
};

/** Those that are trained in Node too, to compare. */
const compared = [
  "dino",
  "ibot",
  "carp",
  "carp in blocks",
  "pmsn",
  "own targets",
  "center of responsibilities",
  "responsibilities",
];

describe("trainings with the mixture on the rank's device", function () {
  this.timeout(300_000);
  let folder: string;
  const run = (name: string) => join(folder, "runs", name);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  after(() => rm(folder, { recursive: true }));

  async function written(name: string, settings: object): Promise<string> {
    const file = join(folder, `${name}.yaml`);
    await writeFile(file, configYaml(settings));
    return file;
  }

  /** What a training of this run has at its end: the last line of its metrics, and the mixture's tensors. */
  async function ending(name: string, arm: string) {
    const place = join(run(name), arm);
    const last = (await readMetrics(join(place, "metrics.jsonl"))).at(-1);
    const file = join(place, "checkpoints", `step-000000${LAST}`, "mixture.safetensors");
    return { last, tensors: existsSync(file) ? (await readSafetensors(file)).tensors : {} };
  }

  function prototypes(name: string, arm: string, step: number): Promise<Buffer> {
    return readFile(join(run(name), arm, "checkpoints", `step-000000${step}`, "mixture.safetensors"));
  }

  /** Two trainings that ended alike but for rounding, which AdamW's first steps make much of. */
  async function alike(one: [string, string], other: [string, string]): Promise<void> {
    const [a, b] = [await ending(...one), await ending(...other)];
    const where = `${one} and ${other}`;
    assert.equal(a.last?.step, LAST, where);
    assert.equal(b.last?.step, LAST, where);
    assert.ok(difference([Number(a.last?.loss)], [Number(b.last?.loss)]) < 5e-3, `losses: ${where}`);
    assert.deepEqual(Object.keys(a.tensors).sort(), Object.keys(b.tensors).sort());
    for (const [name, { data }] of Object.entries(a.tensors)) {
      if (name === "plugin.progress") continue;
      const apart = difference([...(b.tensors[name]?.data ?? [])], [...data]);
      assert.ok(apart < 5e-3, `${name} differ by ${apart}: ${where}`);
    }
  }

  it("are those in Node but for rounding: every method, plugin, and way to make targets", async () => {
    const file = join(folder, "groups.ts");
    await writeFile(file, groups(1));
    const files = await Promise.all(
      Object.entries(arms).flatMap(([arm, settings]) =>
        (compared.includes(arm) ? ["host", "device"] : ["device"]).map((placement) => {
          const yaml = JSON.parse(JSON.stringify({ ...settings, placement }).replace("FILE", file));
          return written(`${arm} ${placement}`, yaml);
        }),
      ),
    );
    const { status, stderr } = await mixhead(folder, "compare", ...files, ...short, "--name", "all");
    assert.equal(status, 0, stderr);
    for (const arm of Object.keys(arms)) {
      const { last } = await ending("all", `${arm} device`);
      assert.ok(last?.step === LAST && Number.isFinite(last.loss), `${arm}: ${JSON.stringify(last)}`);
      if (arm.startsWith("frozen")) continue;
      const [early, late] = [
        await prototypes("all", `${arm} device`, 2),
        await prototypes("all", `${arm} device`, LAST),
      ];
      assert.ok(!early.equals(late), `${arm}: estimated, but did not move`);
    }
    for (const arm of compared) await alike(["all", `${arm} host`], ["all", `${arm} device`]);
    const lines = stderr.split("\n").filter((line) => line.startsWith("The mixture"));
    assert.equal(lines.length, 3, "the backend's line and one for each placement");
    const told = stderr.match(
      /plugin "groups": step 0 waited 3 times for values from the device, 1 of them/g,
    );
    assert.equal(told?.length, 1, stderr);
  });

  describe("and in Node", () => {
    const both = ["host", "device"];
    const settings = {
      plugin: { covariance: "diagonal", weights: "estimated", init: { from: "data" } },
      targets: { from: "responsibility", balance: "center" },
    };
    let files: string[];

    before(async () => {
      files = await Promise.all(both.map((placement) => written(placement, { ...settings, placement })));
      const { status, stderr } = await mixhead(folder, "compare", ...files, ...short, "--name", "whole");
      assert.equal(status, 0, stderr);
    });

    /** As the run is that was ended after step 2. */
    async function cut(name: string): Promise<void> {
      await cp(run("whole"), run(name), { recursive: true });
      await rm(join(run(name), "summary.json"));
      for (const arm of both)
        await rm(join(run(name), arm, "checkpoints", `step-000000${LAST}`), { recursive: true });
    }

    it("give the same bits twice", async () => {
      const { status, stderr } = await mixhead(folder, "compare", ...files, ...short, "--name", "twice");
      assert.equal(status, 0, stderr);
      assert.deepEqual(await leavings(run("twice"), both), await leavings(run("whole"), both));
    });

    it("resume after an interruption bit for bit as if there had been none", async () => {
      await cut("broken");
      const { status, stderr } = await mixhead(folder, "resume", "broken");
      assert.equal(status, 0, stderr);
      assert.deepEqual(await leavings(run("broken"), both), await leavings(run("whole"), both));
    });

    it("resume at the other placement to rounding if asked to; the record stays as it is", async () => {
      for (const placement of both) {
        const name = `to ${placement}`.replace(" ", "-");
        await cut(name);
        const before = await readFile(join(run(name), "config.yaml"), "utf8");
        const { status, stderr } = await mixhead(folder, "resume", name, `placement=${placement}`);
        assert.equal(status, 0, stderr);
        assert.match(stderr, new RegExp(`\\(placement ${placement}: as configured\\)`));
        for (const arm of both) await alike(["whole", arm], [name, arm]);
        assert.equal(await readFile(join(run(name), "config.yaml"), "utf8"), before);
      }
    });

    it("do not resume with other settings", async () => {
      const { status, stderr } = await mixhead(folder, "resume", "whole", "train.lr=1");
      assert.equal(status, 2);
      assert.equal(
        stderr,
        "mixhead: train.lr belongs to what runs/whole is: it goes on with its own; allowed: train.stop, placement, backend, bridge\n",
      );
    });
  });

  it("end with the sentence of a plugin's mistake, and the others continue", async () => {
    const wrong = Object.entries(mistakes).slice(0, 3);
    const files = await Promise.all(
      wrong.map(async ([what, { source }]) => {
        const file = join(folder, `${what.replaceAll(" ", "-")}.ts`);
        await writeFile(file, source);
        return written(what, { plugin: { kind: file }, placement: "device" });
      }),
    );
    const good = await written("good", { placement: "device" });
    const done = await mixhead(folder, "compare", ...files, good, ...short, "--name", "mistakes");
    assert.equal(done.status, 1, done.stderr);
    for (const [what, { says }] of wrong) {
      const file = join(folder, `${what.replaceAll(" ", "-")}.ts`);
      const [line, ...more] = done.stdout.split("\n").filter((each) => each.includes(`failed: ${what}`));
      assert.match(line ?? "", says(file));
      assert.deepEqual(more, []);
    }
    assert.ok(existsSync(join(run("mistakes"), "good", "checkpoints", `step-000000${LAST}`)));
  });

  it("end in a sentence if the device's memory is limited too far, before a worker starts", async () => {
    const file = await written("large", { placement: "device" });
    const args = ["train", file, ...short, "bridge.deviceMemory=0.000005", "--name", "large"];
    const { status, stderr } = await mixhead(folder, ...args);
    assert.equal(status, 2, stderr);
    assert.match(stderr, /mixhead: .* would take .* MiB of the device's memory/);
    assert.ok(!(await readdir(join(run("large"), "decoupled"))).includes("worker.log"));
  });

  it("end in a sentence if their worker is killed, which knew its device and the mixture's memory limit", async () => {
    const file = await written("killed", { placement: "device" });
    const own = ["train.stop=40", "bridge.deviceMemory=1"];
    const training = new CommandLine(folder, ["train", file, ...short, ...own, "--name", "killed"]);
    while (!existsSync(join(run("killed"), "decoupled", "checkpoints", "step-0000004"))) await sleep(10);
    const [worker = 0] = training.workers();
    const told = (await readFile(`/proc/${worker}/cmdline`, "utf8")).split("\0");
    assert.ok(told.includes("--device=cpu") && told.includes(`--memory=${2 ** 30}`), String(told));
    process.kill(worker, "SIGKILL");
    const { status, stderr } = await training.finished;
    assert.equal(status, 1, stderr);
    assert.match(stderr, /mixhead: decoupled: the worker \(process \d+\) was ended by SIGKILL$/m);
  });
});
