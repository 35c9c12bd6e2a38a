import { basename, dirname } from "node:path";

/**
 * The source of a plugin of a user's: prototypes that follow their rows by momentum. `inStep`: lines of its step
 * from the second one on, where `h` is the batch and `c` the prototypes.
 */
function pluginSource(inStep: string, kept = ""): string {
  return `import { directions, tf } from "mixhead";
export default ({ components, dim, seed, start }) => {
  let c = start ? tf.tensor2d(start, [components, dim]) : directions(components, dim, seed, "groups");
  ${kept}
  const sum = tf.sum(c);
  const saved = async () => ({
    prototypes: { shape: [components, dim], data: await c.data() },
    sum: { shape: [], data: await tf.add(sum, 1).data() },
  });
  return {
    name: "groups",
    components,
    dim,
    async step(h, clock) {
      ${inStep}
      const [responsibilities, next] = tf.tidy(() => {
        const r = tf.softmax(tf.div(tf.matMul(h, tf.transpose(c)), 0.1));
        const moved = tf.add(tf.mul(c, 0.9), tf.mul(tf.matMul(tf.transpose(r), h), 0.1));
        return [r, tf.div(moved, tf.norm(moved, 2, 1, true))];
      });
      c.dispose();
      c = next;
      return { responsibilities, touched: "all", scalars: {} };
    },
    targets: (h) => tf.tidy(() => tf.softmax(tf.div(tf.matMul(h, c, false, true), 0.05))),
    prototypes: () => c,
    parameters: saved,
    state: saved,
    load: ({ prototypes }) => {
      c.dispose();
      c = tf.tensor2d(prototypes.data, [components, dim]);
    },
    dispose: () => c.dispose(),
  };
};
`;
}

/** One that reads so many times in a step, each time what depends on what it has read. */
export function groups(reads: number): string {
  return pluginSource(`let seen = 1;
      for (let i = 0; i < ${reads}; i++) {
        const sum = tf.tidy(() => tf.mul(tf.sum(h), seen));
        seen = Math.sign((await sum.data())[0]);
        sum.dispose();
      }`);
}

interface Mistake {
  source: string;
  /** The sentence, of a plugin in this file. */
  says(path: string): RegExp;
}

/** What a plugin does from its second step on, and what is said of it. */
export const mistakes: Record<string, Mistake> = {
  "queues a million operations": {
    source: pluginSource(`for (let i = 0; i < 1e6 * Math.sign(clock.step); i++) {
        tf.dispose(tf.add(c, i));
      }`),
    says: (path) =>
      sentence(
        path,
        String.raw`100,000 operations wait .* does the loop around Add \(${near(path)}:16:\d+\) end\?`,
      ),
  },
  "keeps a disposed tensor": {
    source: pluginSource(
      `const other = tf.sub(c, kept);
      tf.dispose([other, kept]);`,
      "const kept = tf.ones([components, dim]);",
    ),
    says: (path) => sentence(path, String.raw`Sub: a disposed tensor is used again \(${near(path)}:15:\d+\)`),
  },
  "uses an operation that is not on the list": {
    source: pluginSource(`if (clock.step > 0) {
        tf.conv1d(tf.ones([9, 1]), tf.ones([3, 1, 1]), 1, "valid");
      }`),
    says: (path) =>
      sentence(path, String.raw`backend torch has no kernel Conv2D: .* \(${near(path)}:16:\d+\)$`),
  },
  "reads without waiting": {
    source: pluginSource(`if (clock.step > 0) {
        tf.sum(c).dataSync();
      }`),
    says: (path) => sentence(path, String.raw`.*write .await x\.data\(\). .* instead of .x\.dataSync\(\).`),
  },
};

/** A file below the current folder is named from there. */
function near(path: string): string {
  return `(?:${dirname(path)}/)?${basename(path)}`;
}

function sentence(path: string, rest: string): RegExp {
  return new RegExp(`${path}, step 1: it failed: ${rest}`);
}
