/**
 * One EM step on every backend beside the same step in PyTorch, in turns, so that both meet the same
 * machine. Threads are set by the environment before a native library starts: one process per setting.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import * as tf from "@tensorflow/tfjs-core";
import { type BackendName, openBackend } from "../src/backend/backend.ts";
import { loadTensorflow } from "../src/backend/tensorflow.ts";
import { plugin as pluginSchema, targets as targetsSchema } from "../src/config/schema.ts";
import { directions } from "../src/plugins/random.ts";
import { createPlugin } from "../src/plugins/registry.ts";
import { createTargets } from "../src/plugins/targets.ts";

interface Setting {
  rows: number;
  dim: number;
  components: number;
  targets: boolean;
}

const settings: Setting[] = [
  { rows: 256, dim: 64, components: 1024, targets: true },
  { rows: 256, dim: 256, components: 1024, targets: false },
  { rows: 256, dim: 256, components: 8192, targets: false },
];
const ROUNDS = 15;
const WARM_UP = 3;

for (const setting of settings) {
  for (const backend of ["tensorflow", "wasm"] as const) {
    const missing = backend === "tensorflow" ? loadTensorflow() : undefined;
    if (missing === undefined)
      console.log(`${cells(setting)} | ${backend} | ${await compare(setting, backend)} |`);
    else console.log(`${cells(setting)} | ${backend} | ${missing} | | |`);
  }
}

function cells({ rows, dim, components, targets }: Setting): string {
  const threads = process.env.OMP_NUM_THREADS ?? "all";
  return `| ${threads} | ${rows} | ${dim} | ${components} | ${targets ? "EM, Sinkhorn" : "EM"}`;
}

/** Medians in milliseconds, ours and PyTorch's, and the median of the rounds' ratios. */
async function compare(setting: Setting, backend: BackendName): Promise<string> {
  await openBackend(backend);
  const ours = await tfjsStep(setting);
  const torch = torchStep(setting);
  const rounds: { ours: number; torch: number }[] = [];
  for (let round = 0; round < WARM_UP + ROUNDS; round++) {
    rounds.push({ ours: await ours.measure(), torch: await torch.measure() });
  }
  ours.close();
  await torch.close();
  const counted = rounds.slice(WARM_UP);
  const figures = [
    median(counted.map((round) => round.ours)).toFixed(1),
    median(counted.map((round) => round.torch)).toFixed(1),
    median(counted.map((round) => round.ours / round.torch)).toFixed(2),
  ];
  return figures.join(" | ");
}

async function tfjsStep({ rows, dim, components, targets: wanted }: Setting) {
  const plugin = await createPlugin(pluginSchema.parse({ components }), { dim, seed: 0 });
  const targets = createTargets(targetsSchema.parse({}));
  const h = directions(rows, dim, 0, "rows");
  const clock = { step: 0, steps: 1, epoch: 0 };
  return {
    measure: async () => {
      const start = performance.now();
      const result = await plugin.step(h, clock);
      if (wanted) await dropped(targets.of(h, plugin, result, clock));
      // A read of the last thing computed: without it a lazy backend would only have queued the work.
      await dropped(tf.tidy(() => tf.slice(plugin.prototypes(), [0, 0], [1, 1])));
      const elapsed = performance.now() - start;
      result.responsibilities.dispose();
      return elapsed;
    },
    close: () => {
      h.dispose();
      plugin.dispose();
      targets.dispose();
    },
  };
}

async function dropped(tensor: tf.Tensor): Promise<void> {
  await tensor.data();
  tensor.dispose();
}

function torchStep({ rows, dim, components, targets }: Setting) {
  const python = new URL("../python_env/.venv/bin/python", import.meta.url).pathname;
  const script = new URL("em_step.py", import.meta.url).pathname;
  const child = spawn(python, [script, `${rows}`, `${dim}`, `${components}`, targets ? "targets" : "em"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    measure: async () => {
      child.stdin.write("\n");
      const { value, done } = await answers.next();
      if (done) throw new Error("PyTorch ended early");
      return Number(value);
    },
    close: async () => {
      child.stdin.end();
      await once(child, "exit");
    },
  };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
