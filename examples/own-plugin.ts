// Compares a plugin of 40 lines with the mixture: its prototypes follow their rows by momentum, as SMoG's groups do.
//   npx mixhead run examples/own-plugin.ts                    a minute: shows that it runs
// What to look at: "used" and uniqueness beside the mixture's; 100 steps are too few to distinguish their
// k-NN. The run's config.yaml has the plugin's name, as custom:momentumGroups.
import { compare, directions, type PluginFactory, tf } from "mixhead";

const momentumGroups: PluginFactory = ({ components, dim, seed, start }) => {
  const momentum = 0.95;
  let c = start
    ? tf.tensor2d(start, [components, dim])
    : directions(components, dim, seed, "momentum-groups");
  const replace = (next: tf.Tensor2D) => {
    c.dispose();
    c = next;
  };
  return {
    name: "momentum-groups",
    components,
    dim,
    async step(h) {
      const [responsibilities, next] = tf.tidy((): [tf.Tensor2D, tf.Tensor2D] => {
        const winners: tf.Tensor1D = tf.argMax(tf.matMul(h, tf.transpose(c)), 1);
        const won = tf.cast(tf.oneHot(winners, components), "float32");
        const r = tf.reshape<tf.Rank.R2>(won, [h.shape[0], components]);
        const counts = tf.reshape(tf.sum(r, 0), [components, 1]);
        const means = tf.div(tf.matMul(tf.transpose(r), h), tf.maximum(counts, 1));
        const moved = tf.add(tf.mul(c, momentum), tf.mul(means, 1 - momentum));
        const unit: tf.Tensor2D = tf.div(moved, tf.norm(moved, 2, 1, true));
        return [r, tf.where(tf.greater(counts, 0), unit, c)]; // prototypes that won no row stay
      });
      replace(next);
      return { responsibilities, touched: "all", scalars: {} };
    },
    prototypes: () => c,
    parameters: async () => ({ prototypes: { shape: [components, dim], data: await c.data<"float32">() } }),
    state: async () => ({ prototypes: { shape: [components, dim], data: await c.data<"float32">() } }),
    load: ({ prototypes }) => replace(tf.tensor2d(prototypes?.data ?? new Float32Array(), [components, dim])),
    dispose: () => c.dispose(),
  };
};

await compare(
  { mixture: {}, groups: { plugin: { kind: momentumGroups } } },
  { base: { data: { train: 5000, test: 1000 }, train: { stop: 100, batch: 64, evaluateEvery: 50 } } },
);
