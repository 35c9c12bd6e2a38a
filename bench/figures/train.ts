import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sentence } from "../../src/errors.ts";
import { readTrace } from "../../src/experiment/trace.ts";
import { dataDir } from "../../src/files/paths.ts";
import { CommandFailed, run } from "../../src/setup/shell.ts";
import type { Context, Figure, Measured, Missing, Row } from "../figure.ts";
import { cli } from "../process.ts";
import { median } from "../statistics.ts";
import { stepsOf, timesOf } from "../steps.ts";

const GOAL = 1.05;
const WARM_UP = 8; // steps

interface Arm {
  prototypes: string;
  placement?: string;
  plugin?: object;
  steps: number;
  runs: number;
}

function arms({ device, quick }: Context): Record<string, Arm> {
  const gpu = device === "cuda";
  const steps = quick ? 14 : gpu ? 90 : 40;
  const runs = quick || gpu ? 1 : 3;
  const diagonal = { covariance: "diagonal", weights: "estimated" };
  const decoupled = { prototypes: "decoupled", placement: "device", steps, runs };
  return {
    joint: { prototypes: "joint", steps, runs },
    device: decoupled,
    "device, diagonal": { ...decoupled, plugin: diagonal },
    // On a GPU machine without tfjs-node a step takes about a second, and time on such a machine is scarce.
    ...(!gpu && { host: { ...decoupled, placement: "host" } }),
  };
}

function settings({ device }: Context) {
  const encoder = device === "cuda" ? "resnet18-32" : "conv-small";
  const batch = device === "cuda" ? 256 : 128;
  const precision = device === "cuda" ? "bfloat16" : "float32";
  return { encoder, batch, precision, K: 8192, D: 256 };
}

/** `mixhead train`: a short run of each arm. */
export const train: Figure = {
  title: "A training step of `mixhead train`, and the part of it in which the device waits for Node",
  how: (context) =>
    `2,000 CIFAR-10 images, 2 + 2 views; median of the steps of a run from the ${WARM_UP}th on, ${mostRuns(context)} runs of an arm at most, in turns. "waits": the share of a step in which ${context.device === "cuda" ? "the GPU has nothing to do" : "the rank does nothing"} until Node has answered.`,
  async measure(context) {
    const folder = await mkdtemp(join(tmpdir(), "mixhead-bench-"));
    try {
      return await measureIn(folder, context);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};

const mostRuns = (context: Context) => Math.max(...Object.values(arms(context)).map(({ runs }) => runs));

async function measureIn(folder: string, context: Context): Promise<Row[]> {
  const measured = new Map<string, Samples | Missing>();
  for (let round = 0; round < mostRuns(context); round++) {
    for (const [name, arm] of Object.entries(arms(context))) {
      const before = measured.get(name) ?? { step: [], waits: [] };
      if ("missing" in before || round >= arm.runs) continue;
      context.note(`${name}, run ${round + 1}`);
      try {
        const { step, waits } = await trainOnce(folder, name, arm, context);
        measured.set(name, { step: [...before.step, step], waits: [...before.waits, waits] });
      } catch (error) {
        const why = error instanceof CommandFailed ? (error.lines.at(-1) ?? error.message) : sentence(error);
        context.note(why);
        measured.set(name, { missing: why.replace(/^(mixhead|bench): (\S+\.yaml: )?/, "") });
      }
    }
  }
  const of = (key: keyof Samples, unit: string) =>
    [...measured].map(([name, samples]): [string, Measured | Missing] => [
      name,
      "missing" in samples ? samples : { unit, samples: samples[key], ...LIMITS[key]?.[name] },
    ]);
  const setting = settings(context);
  return [
    {
      setting: { ...setting, measured: "step" },
      arms: Object.fromEntries(of("step", "ms")),
      ratios: [
        ...(measured.has("host") ? [{ of: "host", to: "joint" }] : []),
        { of: "device", to: "joint", atMost: GOAL },
        { of: "device, diagonal", to: "joint", atMost: 1.3 * GOAL },
      ],
    },
    { setting: { ...setting, measured: "waits" }, arms: Object.fromEntries(of("waits", "%")), ratios: [] },
  ];
}

const LIMITS: Partial<Record<keyof Samples, Record<string, { atMost: number }>>> = {
  waits: { device: { atMost: 2 } },
};

interface Samples {
  /** Milliseconds, the median of each run. */
  step: number[];
  /** Percent of a run's steps. */
  waits: number[];
}

async function trainOnce(folder: string, name: string, arm: Arm, context: Context) {
  const { encoder, batch, precision, K, D } = settings(context);
  const config = {
    prototypes: arm.prototypes,
    ...(arm.placement && { placement: arm.placement }),
    device: context.device,
    precision,
    data: { train: 2000, test: 200 },
    encoder: { name: encoder },
    head: { dim: D },
    train: { batch, steps: 1000, stop: arm.steps, evaluateEvery: 1000, checkpointEvery: 1000 },
    plugin: { components: K, ...arm.plugin },
  };
  const file = join(folder, "arm.yaml");
  await writeFile(file, JSON.stringify(config)); // JSON is valid YAML
  const trace = join(folder, "trace.json");
  const [program = "", ...args] = cli("train", file, "--name", "bench", "--force", "--trace", trace);
  await run(program, args, { cwd: folder, env: { MIXHEAD_DATA: dataDir() } });
  await cp(trace, join(context.out, `train-${name.replaceAll(/\W+/g, "-")}.trace.json`));
  const times = [...stepsOf(await readTrace(trace))]
    .filter(([step]) => step >= WARM_UP)
    .flatMap(([, spans]) => timesOf(spans) ?? []);
  const total = (key: "step" | "idle") => times.reduce((sum, each) => sum + each[key], 0);
  return { step: median(times.map(({ step }) => step)), waits: (100 * total("idle")) / total("step") };
}
