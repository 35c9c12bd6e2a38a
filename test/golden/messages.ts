import type { Outgoing, Tensors } from "../../src/bridge/codec.ts";

const generation = "00ff00ff00ff00ff";
const scalars = { loss: 5.545177459716797, lr: Number.NaN, epochs: 3, negative: -0.5, large: 1e300 };
const matrix = (rows: number, columns: number) => ({
  dtype: "float32" as const,
  shape: [rows, columns],
  data: Float32Array.from({ length: rows * columns }, (_, i) => i / 8 - 1),
});
const integers = (...values: number[]) => ({
  dtype: "int32" as const,
  shape: [values.length],
  data: Int32Array.from(values),
});

const flags = { dtype: "bool" as const, shape: [2, 1], data: Uint8Array.of(1, 0) };
const text = { dtype: "uint8" as const, shape: [2], data: Uint8Array.of(123, 125) };
const run = {
  seq: 70000,
  program: "0123456789abcdef",
  inputs: [0, 300],
  base: 4294967296,
  free: [300],
  reads: [],
  literals: new Uint8Array(Float64Array.of(-0, Number.NaN, 2147483647, 0.1).buffer),
  rows: 5,
  metrics: -1,
  prototypes: -1,
  targets: -1,
  forget: false,
};

/** One message of every type; those with tensors in every form that they take. */
export const MESSAGES: Record<string, [Outgoing, Tensors]> = {
  hello: [
    {
      type: "hello",
      version: 3,
      run: "a run – with Ünïcode",
      mixture: "default",
      rank: 1,
      world: 2,
      components: 3,
      dim: 2,
      generation,
      start: "sha",
      config: '{"targets":{}}',
      executor: 1,
      device: "cuda:0 NVIDIA H100",
      oldest: 2,
      secret: "a secret",
      capabilities: ["sparse", "a newer one"],
    },
    { prototypes: matrix(3, 2) },
  ],
  welcome: [
    {
      type: "welcome",
      version: 3,
      generation,
      step: 70000,
      config: '{"seed":0}',
      commands: ["evaluate"],
      run: null,
      capabilities: ["sparse"],
    },
    { prototypes: matrix(3, 2) },
  ],
  "welcome-run": [
    {
      type: "welcome",
      version: 3,
      generation,
      step: 0,
      config: "{}",
      commands: [],
      run: { ...run, prototypes: 3 },
      capabilities: [],
    },
    { definition: text, "upload.3": matrix(3, 2), "upload.12": flags },
  ],
  reject: [{ type: "reject", code: "busy", message: "taken" }, {}],
  embeddings: [{ type: "embeddings", generation, step: 0, epoch: 0, scalars, announced: 0 }, { h: matrix(4, 2) }],
  "embeddings-clock": [{ type: "embeddings", generation, step: 1, epoch: 0, scalars: {}, announced: 0 }, {}],
  "embeddings-announced": [
    { type: "embeddings", generation, step: 2, epoch: 0, scalars: {}, announced: 512 },
    { metrics: { dtype: "float32", shape: [2], data: Float32Array.of(Number.NaN, 0.5) } },
  ],
  targets: [
    { type: "targets", generation, step: 0, scalars, commands: ["evaluate", "probe", "checkpoint", "stop"], run: null },
    { rows: matrix(2, 2), indices: integers(0, 2), targets: matrix(4, 3) },
  ],
  "targets-sparse": [
    { type: "targets", generation, step: 0, scalars, commands: [], run: null },
    {
      rows: matrix(3, 2),
      "targets.offsets": integers(0, 1, 1, 3),
      "targets.columns": integers(2, 0, 1),
      "targets.values": { dtype: "float32", shape: [3], data: Float32Array.of(1, 0.25, 0.75) },
    },
  ],
  "targets-run": [{ type: "targets", generation, step: 0, scalars, commands: [], run }, {}],
  execute: [
    { type: "execute", generation, run: { ...run, program: "", inputs: [], literals: new Uint8Array(), forget: true } },
    {},
  ],
  values: [{ type: "values", generation, seq: 70000 }, { "0": matrix(1, 2), "1": flags }],
  failed: [
    { type: "failed", generation, seq: 1, at: -1, code: "memory", message: "1 MB would be needed – too much" },
    {},
  ],
  error: [
    { type: "error", generation, step: 4294967296, code: "row", row: -1, message: "row 3 is not finite" },
    {},
  ],
  state: [
    { type: "state", generation, step: 9 },
    { means: matrix(3, 2), count: { dtype: "float32", shape: [], data: Float32Array.of(Number.NaN) } },
  ],
  load: [
    { type: "load", generation, step: 9 },
    { empty: { dtype: "float32", shape: [0, 2], data: new Float32Array() } },
  ],
  ping: [{ type: "ping", generation }, {}],
  pong: [{ type: "pong", generation }, {}],
  result: [
    { type: "result", generation, command: "evaluate", step: 10, scalars, text: { path: "step-10" } },
    { counts: integers(-1, 2), correct: { dtype: "uint8", shape: [3], data: Uint8Array.of(0, 1, 255) } },
  ],
  bye: [{ type: "bye", generation, reason: "" }, {}],
};
