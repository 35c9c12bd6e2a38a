import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { readSafetensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { backends } from "../backend/available.ts";
import { writeNpy } from "../files/write-npy.ts";
import { randomRows } from "../metrics/rows.ts";
import { clusteredRows, difference } from "../plugins/support.ts";
import { begin, type ReferenceOptions, step } from "../reference/online-gmm-float64.ts";
import { mixhead } from "./command.ts";

/** A plugin that interrupts its own process in its first step, or only when all steps are taken. */
const interrupting = (when: "step" | "parameters") => `
  import { frozen } from "${join(process.cwd(), "src/plugins/frozen.ts")}";
  const interrupt = () => process.kill(process.pid, "SIGINT");
  export default ({ components, dim, seed, config }) => {
    const plugin = frozen({ components, dim, seed, variance: config.variance, cutoff: 0, start: undefined });
    const ${when} = plugin.${when}.bind(plugin);
    plugin.${when} = async (...args) => {
      if (args[1] === undefined || args[1].step === 0) interrupt();
      return ${when}(...args);
    };
    return plugin;
  };`;

describe("mixhead fit", function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    const { rows, dim, data } = randomRows(600, 8, 1);
    await writeNpy(join(folder, "e.npy"), [rows, dim], data);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const fitted = (...args: string[]) =>
    mixhead(folder, "fit", "e.npy", "--out", "out", "plugin.components=8", ...args);

  it("ends early if it is interrupted between two measurements, with the mixture so far", async () => {
    await writeFile(join(folder, "early.ts"), interrupting("step"));
    const { status, stdout, stderr } = await fitted(
      "plugin.kind=./early.ts",
      "fit.batch=1",
      "fit.measureEvery=10000",
    );
    assert.equal(status, 1, stderr);
    assert.match(stderr, /interrupted; out holds the mixture so far/);
    assert.ok(Number(/^(\d+) steps/.exec(stdout)?.[1]) < 600, stdout);
    const files = ["metrics.jsonl", "mixture.safetensors", "state.safetensors"];
    assert.deepEqual((await readdir(join(folder, "out"))).sort(), files);
  });

  it("did not end early if an interruption found no step left", async () => {
    await writeFile(join(folder, "late.ts"), interrupting("parameters"));
    const { status, stdout, stderr } = await fitted("plugin.kind=./late.ts");
    assert.match(stdout, /^3 steps: distinctUsed \d.* at 0\.5; unique \d.* at 0\.5; used \d/);
    assert.doesNotMatch(stderr, /interrupted/);
    assert.equal(status, 0, stderr);
  });

  it("measures who is used, and distinct among these, of more components than rows can use", async () => {
    const { status, stderr } = await fitted("plugin.components=900");
    assert.equal(status, 0, stderr);
    const { used = 1, distinctUsed } = (await readMetrics(join(folder, "out", "metrics.jsonl"))).at(-1) ?? {};
    const both = distinctUsed?.["0.025"] ?? 0;
    assert.ok(used < 0.67 && both > 0 && both <= used, `${used} used, ${both} of them distinct`);
  });

  it("starts from the prototypes of a checkpoint and says which they are", async () => {
    const { rows, dim, data } = randomRows(8, 8, 2);
    await writeSafetensors(join(folder, "dino.safetensors"), {
      "teacher.head.last_layer.weight_v": { shape: [rows, dim], data: data.map((value) => 3 * value) },
    });
    await writeNpy(join(folder, "same.npy"), [rows, dim], data);
    const prototypes = async (...args: string[]) => {
      const { status, stderr } = await fitted(...args);
      assert.equal(status, 0, stderr);
      const { tensors } = await readSafetensors(join(folder, "out", "mixture.safetensors"));
      return { data: [...(tensors.prototypes?.data ?? [])], stderr };
    };
    const ofCheckpoint = await prototypes("--init", "dino.safetensors");
    assert.match(
      ofCheckpoint.stderr,
      /^starts from dino\.safetensors: teacher\.head\.last_layer\.weight_v$/m,
    );
    assert.ok(difference(ofCheckpoint.data, (await prototypes("--init", "same.npy")).data) < 1e-5);
    const { status, stderr } = await fitted("--key", "x");
    assert.equal(
      stderr,
      "mixhead: --key names a tensor in the checkpoint of --init, so it needs --init too\n",
    );
    assert.equal(status, 2);
  });

  it("answers a folder that cannot be one with a sentence and exit status 2", async () => {
    await writeFile(join(folder, "out"), "a file");
    const { status, stderr } = await fitted();
    assert.match(stderr, /^mixhead: cannot write out\/metrics\.jsonl: a part of its path is not a folder$/m);
    assert.equal(status, 2);
    assert.equal(await readFile(join(folder, "out"), "utf8"), "a file");
  });

  /** A fit from given prototypes, with its settings, and what it leads to in float64. */
  async function fitsFloat64(backend: string, options: Partial<ReferenceOptions>): Promise<void> {
    const [K, D, N, batch] = [6, 8, 200, 64];
    const [rows, means] = [clusteredRows(N, D, 1), clusteredRows(K, D, 2, 1.5)];
    await writeNpy(join(folder, "rows.npy"), [N, D], Float32Array.from(rows.flat()));
    await writeNpy(join(folder, "means.npy"), [K, D], Float32Array.from(means.flat()));
    const reference: ReferenceOptions = {
      covariance: "shared",
      variance: 0.1,
      floor: 1e-3,
      initialVariance: 0.05,
      weights: "uniform",
      weightRate: 0.05,
      forgetting: { by: "responsibility", retention: 0.99 },
      count: 1,
      cutoff: 0,
      ...options,
    };
    const { covariance, variance, floor, weights, cutoff } = reference;
    const plugin = {
      covariance,
      variance,
      floor,
      weights,
      cutoff,
      "init.variance": 0.05,
      "prior.strength": 0,
    };
    const settings = Object.entries(plugin).map(([name, value]) => `plugin.${name}=${value}`);
    const given = ["--init", "means.npy", `backend=${backend}`, `fit.batch=${batch}`, "fit.epochs=2"];
    const done = await mixhead(folder, "fit", "rows.npy", "--out", "out", ...settings, ...given);
    assert.equal(done.status, 0, done.stderr);

    let components = begin(means, means, reference);
    for (let epoch = 0; epoch < 2; epoch++) {
      for (let from = 0; from < N; from += batch)
        ({ components } = step(rows.slice(from, from + batch), components, { beta: 1, a: 0 }, reference));
    }
    const { tensors } = await readSafetensors(join(folder, "out", "mixture.safetensors"));
    const expected: Record<string, number[]> = {
      prototypes: components.flatMap(({ c }) => c),
      means: components.flatMap(({ mu }) => mu),
      counts: components.map(({ n }) => n),
      weights: components.map(({ pi }) => pi),
      ...(covariance === "diagonal" && { variances: components.flatMap(({ sigma2 }) => sigma2) }),
      ...(covariance === "spherical" && {
        variances: components.flatMap(({ sigma2 }) => sigma2.slice(0, 1)),
      }),
    };
    assert.deepEqual(Object.keys(tensors).sort(), Object.keys(expected).sort());
    for (const [name, values] of Object.entries(expected)) {
      const apart = difference([...(tensors[name]?.data ?? [])], values);
      assert.ok(apart < 1e-4, `${name} differ by ${apart} on ${backend}`);
    }
  }

  for (const name of ["wasm", "tensorflow", "torch"]) {
    const missing = backends.find((backend) => backend.name === name)?.missing;
    const title = `leads to the mixture of float64 on ${name}${missing ? ` (skipped: ${missing})` : ""}`;
    it(title, async function () {
      if (missing !== undefined) return this.skip();
      for (const covariance of ["shared", "diagonal"] as const)
        await fitsFloat64(name, { covariance, weights: "estimated", cutoff: 0.02 });
    });
  }

  it("takes a user's plugin on torch, and ends by itself", async () => {
    await writeFile(join(folder, "late.ts"), interrupting("parameters"));
    const [here, there] = [
      await fitted("plugin.kind=./late.ts"),
      await fitted("plugin.kind=./late.ts", "backend=torch"),
    ];
    assert.equal(there.status, 0, there.stderr);
    assert.match(there.stderr, /The mixture runs on PyTorch \(.*\), as configured/);
    assert.equal(there.stdout, here.stdout);
  });
});
