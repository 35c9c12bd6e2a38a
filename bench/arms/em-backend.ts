import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { openBackend } from "../../src/backend/backend.ts";
import { plugin as pluginSchema } from "../../src/config/schema.ts";
import { directions } from "../../src/plugins/random.ts";
import { createPlugin } from "../../src/plugins/registry.ts";
import { takeRounds } from "./rounds.ts";

const schema = z.strictObject({
  backend: z.enum(["tensorflow", "wasm"]),
  rows: z.int(),
  dim: z.int(),
  components: z.int(),
  seconds: z.number(),
});

/** The plugin's EM step in Node, on a backend of tfjs. */
export async function emBackend(options: unknown): Promise<void> {
  const { backend, rows, dim, components, seconds } = schema.parse(options);
  await openBackend(backend);
  const plugin = await createPlugin(pluginSchema.parse({ components }), { dim, seed: 0 });
  const h = directions(rows, dim, 0, "rows");
  const step = async () => {
    const result = await plugin.step(h, { step: 0, steps: 1, epoch: 0 });
    result.responsibilities.dispose();
  };
  // A read of the last thing computed: without it a lazy backend would only have queued the work.
  const finish = async () => {
    const last = tf.tidy(() => tf.slice(plugin.prototypes(), [0, 0], [1, 1]));
    await last.data();
    last.dispose();
  };
  await takeRounds(step, finish, seconds);
}
