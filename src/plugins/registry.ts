import { z } from "zod";
import type { ScheduleConfig } from "../config/schedule.ts";
import type { PluginConfig } from "../config/schema.ts";
import { sentence, UserError } from "../errors.ts";
import { importFile } from "../files/import-file.ts";
import { type OwnSchedules, parseSchedule, type Schedule } from "../schedules/schedule.ts";
import { clustering } from "./clustering.ts";
import { frozen } from "./frozen.ts";
import { kmeans } from "./kmeans.ts";
import { onlineGmm } from "./online-gmm.ts";
import { parseOptions } from "./options.ts";
import type { PrototypePlugin } from "./plugin.ts";

export interface PluginContext {
  /** D. */
  dim: number;
  seed: number;
  /** Prototypes to start from, K x D, row-major, such as a checkpoint's. */
  start?: Float32Array | undefined;
  /** The plugin's factory, if its kind is "custom:NAME". */
  factory?: PluginFactory | undefined;
  /** Users' schedules by their name in the configuration. */
  schedules?: OwnSchedules | undefined;
  /** See OnlineGmmOptions. */
  dense?: boolean | undefined;
}

/**
 * Makes a user's plugin: the default export of a file, or a function in an experiment file. A file may also export
 * a zod schema, `options`; its factory is then a `PluginFactory<z.infer<typeof options>>`.
 */
export type PluginFactory<Options = NoOptions> = (
  given: PluginOptions<Options>,
) => PrototypePlugin | Promise<PrototypePlugin>;

type NoOptions = Record<string, never>;

/** The functions of an experiment file. A configuration can only name them, so they are passed beside it. */
export interface Values {
  schedules: OwnSchedules;
  factory: PluginFactory | undefined;
}

export interface PluginOptions<Options = NoOptions> {
  /** K. */
  components: number;
  /** D. */
  dim: number;
  seed: number;
  /** All settings under `plugin` in the configuration. */
  config: PluginConfig;
  /** `plugin.options`, parsed by the schema that the plugin's file exports. */
  options: Options;
  /** Prototypes to start from, K x D, row-major, if given. */
  start: Float32Array | undefined;
  /** Functions of an experiment file by their name in the configuration. */
  schedules?: OwnSchedules | undefined;
  /** See OnlineGmmOptions. */
  dense?: boolean | undefined;
}

const kinds = { "online-gmm": onlineGmm, frozen, kmeans, sinkhorn: clustering };
/** The built-in plugins. */
export type BuiltIn = keyof typeof kinds;

const NAMES = Object.keys(kinds).join(", ");

const FILES = /\.(ts|mts|js|mjs)$/;

/** Prefix of the name of a factory in an experiment file. */
export const CUSTOM = "custom:";

/**
 * The settings of a plugin, with `options` parsed by the schema of its file. Settings of a function are returned
 * unchanged, since functions have no options.
 *
 * @throws UserError if the plugin does not exist, its file cannot be loaded, or its options are not allowed
 */
export async function withOptions(config: PluginConfig): Promise<PluginConfig> {
  const { kind, options: given } = config;
  if (kind.startsWith(CUSTOM)) return config;
  if (isBuiltIn(kind)) {
    if (given === undefined) return config;
    throw new UserError(
      `plugin.options are for a plugin in a file of your own; ${kind} has its settings under plugin itself`,
    );
  }
  const { options: schema } = await pluginFile(kind);
  const options = await parseOptions(kind, schema, given);
  return options === undefined ? config : { ...config, options };
}

/** Whether a kind is a built-in plugin. */
export function isBuiltIn(kind: string): kind is BuiltIn {
  return Object.hasOwn(kinds, kind);
}

/**
 * Makes the plugin that a configuration names: a built-in one, one whose PluginFactory is the default
 * export of a .ts, .js or .mjs file, or one of an experiment file's factory.
 *
 * @throws UserError if it does not exist, or cannot be made with these settings
 */
export async function openPlugin(
  settings: PluginConfig,
  { factory, ...context }: PluginContext,
): Promise<PrototypePlugin> {
  const config = await withOptions(settings);
  const { kind, components, options = {} } = config;
  const given = { start: undefined, ...context, components, config, options };
  return isBuiltIn(kind) ? createPlugin(kind, given) : pluginOf(kind, await factoryOf(kind, factory), given);
}

/**
 * Makes a built-in plugin, for a user's plugin to wrap. The wrapper calls its steps, and includes its state in its
 * own.
 *
 * @param given the argument of the wrapper's factory, possibly with another `config`
 * @throws UserError if it cannot be made with these settings
 */
export function createPlugin(kind: BuiltIn, given: PluginOptions<unknown>): PrototypePlugin {
  const { components, dim, seed, config, start, schedules, dense } = given;
  if (!isBuiltIn(kind)) throw new UserError(`createPlugin: kind is "${kind}"; allowed: ${NAMES}`);
  return kinds[kind]({
    ...config,
    components,
    dim,
    seed,
    annealing: parseSchedule(config.annealing, schedules),
    prior: { strength: autoOr(config.prior.strength, schedules) },
    use: { ...config.use, share: autoOr(config.use.share, schedules) },
    start,
    dense,
  });
}

function autoOr(value: ScheduleConfig | "auto", schedules: OwnSchedules | undefined): Schedule | "auto" {
  return value === "auto" ? value : parseSchedule(value, schedules);
}

async function factoryOf(kind: string, given: PluginFactory | undefined): Promise<unknown> {
  if (!kind.startsWith(CUSTOM)) return (await pluginFile(kind)).default;
  if (given !== undefined) return given;
  throw new UserError(`the plugin "${kind}" is a function, which only an experiment file can define`);
}

/** The exports of a plugin's file. @throws UserError if the kind is not a file that can be loaded */
function pluginFile(kind: string): Promise<Record<string, unknown>> {
  if (FILES.test(kind)) return importFile(kind);
  throw new UserError(`plugin.kind is "${kind}"; allowed: ${NAMES}, or a path to a .ts, .js or .mjs file`);
}

async function pluginOf(
  kind: string,
  make: unknown,
  options: PluginOptions<unknown>,
): Promise<PrototypePlugin> {
  if (typeof make !== "function") {
    throw new UserError(`${kind} has no default export that is a function and makes the plugin`);
  }
  let plugin: unknown;
  try {
    plugin = await make(options);
  } catch (error) {
    throw new UserError(`${kind} failed to make its plugin: ${sentence(error)}`, { cause: error });
  }
  const parsed = pluginShape(options).safeParse(plugin);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UserError(`${kind} makes no plugin: ${[...(issue?.path ?? []), ""].join(": ")}${issue?.message}`);
}

const method = z.custom<(...args: never[]) => unknown>((value) => typeof value === "function", {
  error: "a method of this name is needed",
});

/** Checks the members of a plugin. The object itself is returned, with all its methods. */
function pluginShape({ components, dim }: PluginOptions<unknown>) {
  const shape = z.looseObject({
    name: z.string({ error: "a string is needed" }).min(1),
    components: z.literal(components, { error: `the configuration has ${components}` }),
    dim: z.literal(dim, { error: `the embeddings have ${dim}` }),
    step: method,
    prototypes: method,
    parameters: method,
    state: method,
    load: method,
    targets: method.optional(),
    dispose: method,
  });
  return z.custom<PrototypePlugin>().superRefine((value, context) => {
    for (const { path, message } of shape.safeParse(value).error?.issues ?? [])
      context.addIssue({ code: "custom", path, message });
  });
}
