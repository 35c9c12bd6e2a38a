import * as tf from "@tensorflow/tfjs-core";
import type { PrototypePlugin } from "../../../src/plugins/plugin.ts";
import type { PluginOptions } from "../../../src/plugins/registry.ts";

/**
 * A plugin for the tests: after a step its first N prototypes are the batch's rows, in order, and the
 * others the first axis, so that a script sees what it has sent, and when the answer reaches it.
 * Scalars: `rows`, N, and `steps`, how many were taken.
 */
export default function echo({ components, dim }: PluginOptions): PrototypePlugin {
  const axis = () => tf.tidy(() => tf.slice(tf.eye(dim), [0, 0], [1, dim]));
  const filled = (rows: tf.Tensor2D) =>
    tf.tidy(() => tf.concat([rows, tf.tile(axis(), [components - rows.shape[0], 1])]));
  let now: tf.Tensor2D = filled(tf.zeros([0, dim]));
  let steps = 0;
  return {
    name: "echo",
    components,
    dim,
    async step(h) {
      const next = filled(h);
      now.dispose();
      now = next;
      steps++;
      const responsibilities: tf.Tensor2D = tf.fill([h.shape[0], components], 1 / components);
      return { responsibilities, touched: "all", scalars: { rows: h.shape[0], steps } };
    },
    prototypes: () => now,
    parameters: async () => ({}),
    state: async () => ({
      rows: { shape: [components, dim], data: new Float32Array(await now.data<"float32">()) },
      steps: { shape: [1], data: Float32Array.of(steps) },
    }),
    load: (state) => {
      now.dispose();
      now = tf.tensor2d(state.rows?.data ?? [], [components, dim]);
      steps = state.steps?.data[0] ?? 0;
    },
    dispose: () => now.dispose(),
  };
}
