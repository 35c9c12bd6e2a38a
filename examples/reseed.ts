// Wraps the mixture: components that have won no row for a while restart at the rows of the batch that the prototypes
// explain worst.
//   npx mixhead train configs/demo/decoupled.yaml plugin.kind=examples/reseed.ts plugin.options.idle=50 --name reseed
// What to look at: "used", compared with the same run without plugin.kind; "idle" and "moved" are curves in its report.
import { createPlugin, type PluginFactory, tf } from "mixhead";
import { z } from "zod";

export const options = z.strictObject({
  idle: z.int().positive().default(100).describe("steps without a row after which a component is idle"),
  rate: z.int().positive().default(2).describe("components that may begin anew in a step"),
});

const reseed: PluginFactory<z.infer<typeof options>> = (given) => {
  const { components, dim, config } = given;
  const { idle, rate } = given.options;
  if (config.covariance !== "shared")
    throw new RangeError("it sets no variances: plugin.covariance must be shared");
  const alone = { ...config, use: { ...config.use, share: 0 } }; // only this plugin restarts components
  const mixture = createPlugin("online-gmm", { ...given, config: alone });
  let since = new Float32Array(components); // steps since each component last won a row
  return {
    name: "reseed",
    components,
    dim,
    async step(h, clock) {
      const step = await mixture.step(h, clock);
      const [best, winners] = tf.tidy((): [tf.Tensor1D, tf.Tensor1D] => {
        const similarities = tf.matMul(h, mixture.prototypes(), false, true);
        return [tf.max(similarities, 1), tf.argMax(similarities, 1)];
      });
      const [explained, won] = await Promise.all([best.data<"float32">(), winners.data<"int32">()]);
      tf.dispose([best, winners]);
      since = since.map((steps) => steps + 1);
      for (const k of won) since[k] = 0;
      const waiting = [...since.keys()].filter((k) => (since[k] ?? 0) >= idle);
      const worst = [...explained.keys()]
        .sort((a, b) => (explained[a] ?? 0) - (explained[b] ?? 0))
        .slice(0, rate);
      const moves = waiting.slice(0, worst.length).map((k, at) => [k, worst[at] ?? 0] as const);
      const scalars = { ...step.scalars, idle: waiting.length / components, moved: moves.length };
      if (moves.length === 0) return { ...step, scalars };
      const [state, rows] = [await mixture.state(), await h.data<"float32">()];
      for (const [k, i] of moves) {
        const row = rows.subarray(i * dim, (i + 1) * dim);
        for (const name of ["prototypes", "means", "sums", "starts"]) state[name]?.data.set(row, k * dim);
        state.counts?.data.set([1], k); // so the sum is the row
        since[k] = 0;
      }
      mixture.load(state);
      return { ...step, touched: "all", scalars };
    },
    prototypes: () => mixture.prototypes(),
    parameters: () => mixture.parameters(),
    state: async () => ({ ...(await mixture.state()), since: { shape: [components], data: since.slice() } }),
    load({ since: saved, ...state }) {
      mixture.load(state);
      since = Float32Array.from(saved?.data ?? since);
    },
    dispose: () => mixture.dispose(),
  };
};

export default reseed;
