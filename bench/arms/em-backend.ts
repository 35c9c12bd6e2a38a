import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { openBackend } from "../../src/backend/backend.ts";
import { connect } from "../../src/backend/torch/index.ts";
import { plugin as pluginSchema } from "../../src/config/schema.ts";
import { finiteScalars } from "../../src/plugins/estimator.ts";
import { directions } from "../../src/plugins/random.ts";
import { openPlugin } from "../../src/plugins/registry.ts";
import { takeRounds } from "./rounds.ts";

const schema = z.strictObject({
  backend: z.enum(["tensorflow", "wasm", "torch"]),
  /** PyTorch's threads, for backend torch. */
  device: z.enum(["cpu", "cuda"]).default("cpu"),
  rows: z.int(),
  dim: z.int(),
  plugin: pluginSchema,
  seconds: z.number(),
});

/** The plugin's EM step in Node, on a backend of tfjs; its scalars are read at every step. */
export async function emBackend(options: unknown): Promise<void> {
  const { backend, device, rows, dim, plugin: config, seconds } = schema.parse(options);
  const connection = backend === "torch" ? await connect({ device }) : undefined;
  if (backend === "torch") await tf.setBackend(backend);
  else await openBackend(backend);
  const plugin = await openPlugin(config, { dim, seed: 0, dense: backend === "torch" });
  const h = directions(rows, dim, 0, "rows");
  const step = async () => {
    const proposal = await plugin.propose?.(h, { step: 0, steps: 1, epoch: 0 });
    if (proposal === undefined) throw new Error(`${plugin.name} proposes no steps`);
    proposal.adopt();
    await finiteScalars(proposal.scalars);
  };
  // Read the last result: without it a lazy backend would only have queued the work.
  const finish = async () => {
    const last = tf.tidy(() => tf.slice(plugin.prototypes(), [0, 0], [1, 1]));
    await last.data();
    last.dispose();
  };
  await takeRounds(step, finish, seconds);
  await connection?.close();
}
