import * as tf from "@tensorflow/tfjs-core";
import { config as configSchema, plugin as pluginSchema } from "../../src/config/schema.ts";
import { Mixture, type MixtureOptions, type MixtureParts } from "../../src/mixture/mixture.ts";
import { onlineGmm } from "../../src/plugins/online-gmm.ts";
import type { PluginFactory } from "../../src/plugins/registry.ts";
import { type Schedule, schedule } from "../../src/schedules/schedule.ts";
import { clusteredRows, options, type Settings } from "../plugins/support.ts";

export const [N, K, D] = [24, 12, 8];

/** Every kind of plugin whose whole state is tensors, and the settings that change its equations. */
export const kinds: Record<string, Settings> = {
  shared: { kind: "online-gmm", variance: 0.1 },
  spherical: { kind: "online-gmm", covariance: "spherical", floor: 1e-3 },
  "diagonal, estimated weights": {
    kind: "online-gmm",
    covariance: "diagonal",
    floor: 1e-3,
    weights: "estimated",
  },
  "shared, cutoff": { kind: "online-gmm", variance: 0.1, cutoff: 0.02 },
  "several mixtures": { kind: "online-gmm", variance: 0.1, mixtures: 3 },
  kmeans: { kind: "kmeans" },
  sinkhorn: { kind: "sinkhorn" },
  frozen: { kind: "frozen", variance: 0.1 },
};

/** A user's plugin, which can only take its step; its kind in a configuration is "custom:own". */
export const own: PluginFactory = ({ components, dim, seed, start }) => {
  const inner = onlineGmm(options({ components, variance: 0.1 }, { dim, seed, start }));
  return {
    name: "own",
    components,
    dim,
    step: (h, clock) => inner.step(h, clock),
    prototypes: () => inner.prototypes(),
    parameters: () => inner.parameters(),
    state: () => inner.state(),
    load: (state) => inner.load(state),
    dispose: () => inner.dispose(),
  };
};

/** The same with targets of its own: twice the weight for the first half of the prototypes. */
export const ownTargets: PluginFactory = async (given) => {
  const inner = await own(given);
  return Object.assign(inner, {
    targets: (h: tf.Tensor2D) =>
      tf.tidy(() => {
        const logits = tf.div(tf.matMul(h, inner.prototypes(), false, true), 0.1);
        const bonus = Array.from({ length: K }, (_, k) => (2 * k < K ? Math.log(2) : 0));
        return tf.softmax(tf.add<tf.Tensor2D>(logits, tf.tensor1d(bonus)));
      }),
  });
};

export function parts(
  plugin: Settings,
  targets: Parameters<typeof configSchema.shape.targets.parse>[0] = null,
): MixtureParts {
  return {
    plugin: pluginSchema.parse({ components: K, ...plugin }),
    targets: targets === null ? null : configSchema.shape.targets.parse(targets),
  };
}

export function open(of: MixtureParts, options: Partial<MixtureOptions> = {}): Promise<Mixture> {
  return Mixture.open(of, { dim: D, seed: 3, ...options });
}

/** Schedules that a configuration calls {custom: NAME}. */
export function ownSchedules(named: Record<string, Parameters<typeof schedule>[0]>): Map<string, Schedule> {
  return new Map(Object.entries(named).map(([name, value]) => [name, schedule(value, name)]));
}

/** A batch of unit rows for a step; the caller disposes of it. */
export function batch(step: number, n = N): tf.Tensor2D {
  return tf.tensor2d(clusteredRows(n, D, step));
}
