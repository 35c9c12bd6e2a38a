import { channel } from "node:diagnostics_channel";
import { setTimeout as sleep } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import type { PrototypePlugin } from "../../src/plugins/plugin.ts";
import type { PluginOptions } from "../../src/plugins/registry.ts";

/** A plugin whose prototypes stay, and whose step takes a while, after saying that it has begun. */
export default function slow({ components, dim }: PluginOptions): PrototypePlugin {
  const prototypes: tf.Tensor2D = tf.fill([components, dim], dim ** -0.5);
  return {
    name: "slow",
    components,
    dim,
    async step(h) {
      channel("slow step").publish("begun");
      await sleep(100);
      const responsibilities: tf.Tensor2D = tf.fill([h.shape[0], components], 1 / components);
      return { responsibilities, touched: new Int32Array(0), scalars: {} };
    },
    prototypes: () => prototypes,
    parameters: async () => ({}),
    state: async () => ({}),
    load: () => {},
    dispose: () => prototypes.dispose(),
  };
}
