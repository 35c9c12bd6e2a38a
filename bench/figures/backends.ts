import { loadTensorflow } from "../../src/backend/tensorflow.ts";
import type { Figure, Row } from "../figure.ts";
import { node, python } from "../process.ts";
import { allSamples, inTurns } from "../turns.ts";

const SIZES = [
  { rows: 256, dim: 64, components: 1024 },
  { rows: 256, dim: 256, components: 1024 },
  { rows: 256, dim: 256, components: 8192 },
];

/** Compares the tfjs backends that compute in Node with PyTorch on the same cores. */
export const backends: Figure = {
  title: "An EM step in Node, by tfjs backend",
  how: () =>
    "Shared covariance, prior, dense; the same step in PyTorch, each in a process of its own, in turns; median (least to greatest) of rounds.",
  devices: ["cpu"],
  async measure(context) {
    const rows: Row[] = [];
    const inNode = loadTensorflow() === undefined ? ["tensorflow", "wasm"] : ["wasm"];
    for (const threads of ["1", "all"]) {
      const env: Record<string, string> =
        threads === "all" ? {} : { OMP_NUM_THREADS: threads, TF_NUM_INTRAOP_THREADS: threads };
      for (const { rows: n, dim, components } of SIZES) {
        const size = { rows: n, dim, seconds: context.quick ? 0.1 : 0.3 };
        const backend = (name: string) => ({
          command: node("em-backend", { backend: name, plugin: { components }, ...size }),
          env,
        });
        const torch = { command: python("em", { what: "shared", device: "cpu", components, ...size }), env };
        const answers = await inTurns(
          { PyTorch: torch, ...Object.fromEntries(inNode.map((name) => [name, backend(name)])) },
          context.quick ? 2 : 11,
          context,
        );
        rows.push({
          setting: { threads, N: n, D: dim, K: components },
          arms: allSamples(answers, "ms", "ms"),
          ratios: inNode.map((name) => ({ of: name, to: "PyTorch" })),
        });
      }
    }
    return rows;
  },
};
