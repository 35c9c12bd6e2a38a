import { z } from "zod";
import type { PluginConfig } from "../config/schema.ts";
import { sentence, UserError } from "../errors.ts";
import { importFile } from "../files/import-file.ts";
import { parseSchedule } from "../schedules/schedule.ts";
import { clustering } from "./clustering.ts";
import { frozen } from "./frozen.ts";
import { kmeans } from "./kmeans.ts";
import { type OnlineGmmOptions, onlineGmm } from "./online-gmm.ts";
import type { PrototypePlugin } from "./plugin.ts";

export interface PluginContext {
  /** D. */
  dim: number;
  seed: number;
  /** K x D prototypes to begin at, row-major, such as a checkpoint's. */
  start?: { data: Float32Array } | undefined;
}

/** What a plugin file exports by default is called with. */
export interface PluginFileOptions {
  /** K. */
  components: number;
  /** D. */
  dim: number;
  seed: number;
  /** Everything under `plugin` in the configuration. */
  config: PluginConfig;
  /** K x D prototypes to begin at, row-major, where some are given. */
  start: Float32Array | undefined;
}

const kinds: Record<string, (options: OnlineGmmOptions) => PrototypePlugin> = {
  "online-gmm": onlineGmm,
  frozen,
  kmeans,
  sinkhorn: clustering,
};

/**
 * The plugin that a configuration names: one of our own, or one that a .ts, .js or .mjs file
 * exports by default as a function from PluginFileOptions to a PrototypePlugin (or a promise of one).
 *
 * @throws UserError where there is none, or it cannot be made with these settings.
 */
export async function createPlugin(
  config: PluginConfig,
  { dim, seed, start }: PluginContext,
): Promise<PrototypePlugin> {
  const make = kinds[config.kind];
  if (make === undefined) {
    return pluginOfFile(config.kind, {
      components: config.components,
      dim,
      seed,
      config,
      start: start?.data,
    });
  }
  return make({
    ...config,
    dim,
    seed,
    annealing: parseSchedule(config.annealing),
    prior: { strength: parseSchedule(config.prior.strength) },
    start: start?.data,
  });
}

async function pluginOfFile(path: string, options: PluginFileOptions): Promise<PrototypePlugin> {
  if (!/\.(ts|mts|js|mjs)$/.test(path)) {
    const names = Object.keys(kinds).join(", ");
    throw new UserError(`plugin.kind is "${path}"; allowed: ${names}, or a path to a .ts, .js or .mjs file`);
  }
  const { default: make } = await importFile(path);
  if (typeof make !== "function") {
    throw new UserError(`${path} has no default export that is a function, which makes the plugin`);
  }
  let plugin: unknown;
  try {
    plugin = await make(options);
  } catch (error) {
    throw new UserError(`${path} failed to make its plugin: ${sentence(error)}`, { cause: error });
  }
  const parsed = pluginShape(options).safeParse(plugin);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UserError(`${path} makes no plugin: ${[...(issue?.path ?? []), ""].join(": ")}${issue?.message}`);
}

const method = z.custom<(...args: never[]) => unknown>((value) => typeof value === "function", {
  error: "a method of this name is needed",
});

/** What can be told of a plugin from outside; the object itself is handed on, methods and all. */
function pluginShape({ components, dim }: PluginFileOptions) {
  const shape = z.looseObject({
    name: z.string({ error: "a string is needed" }).min(1),
    components: z.literal(components, { error: `the configuration has ${components}` }),
    dim: z.literal(dim, { error: `the embeddings have ${dim}` }),
    step: method,
    prototypes: method,
    parameters: method,
    state: method,
    load: method,
    dispose: method,
  });
  return z.custom<PrototypePlugin>().superRefine((value, context) => {
    for (const { path, message } of shape.safeParse(value).error?.issues ?? [])
      context.addIssue({ code: "custom", path, message });
  });
}
