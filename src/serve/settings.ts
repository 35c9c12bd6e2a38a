import { readFile } from "node:fs/promises";
import { z } from "zod";
import { RejectError } from "../bridge/errors.ts";
import type { Hello } from "../bridge/room.ts";
import { applyOverrides, parseYaml, resolveConfig } from "../config/load.ts";
import { overlay } from "../config/overlay.ts";
import type { Config } from "../config/schema.ts";
import { sentence, UserError } from "../errors.ts";
import { type Chosen, choosePlacement } from "../mixture/placement.ts";
import { isBuiltIn, withOptions } from "../plugins/registry.ts";
import { targetTemperature } from "../plugins/targets.ts";
import type { Clock } from "../schedules/schedule.ts";

/** A configuration before defaults are filled in: a hello has to match only the settings that are given. */
export interface Settings {
  given: Record<string, unknown>;
  /** Its name in error messages: the file, or "settings". */
  source: string;
}

/** The mixture that a hello and the server's settings describe together. */
export interface MixtureSettings {
  config: Config;
  /** K. */
  components: number;
  /** D. */
  dim: number;
  /** Whether the script asks for targets; a script with its own loss needs none. */
  targets: boolean;
  /** Where it is computed for the rank of the hello. */
  chosen: Chosen;
  /** The scalars with which the rank makes the targets itself; undefined if the plugin makes them. */
  rankTargets?: ((clock: Clock) => { targetTemperature: number }) | undefined;
}

const group = z.record(z.string(), z.unknown());

/** What a hello may ask for: settings of one mixture, not of the server. */
const asked = z.strictObject({
  seed: z.unknown().optional(),
  plugin: group.optional(),
  targets: group.optional(),
  train: z.strictObject({ steps: z.unknown() }).optional(),
  placement: z.unknown().optional(),
});

const size = z.int().positive().optional();
const sizes = z.object({
  plugin: z.object({ components: size }).optional(),
  head: z.object({ dim: size }).optional(),
});

/**
 * Reads a configuration file and applies overrides such as `plugin.variance=0.05`; without a file, the overrides
 * alone. @throws UserError with a sentence for each mistake.
 */
export async function readSettings(
  file: string | undefined,
  overrides: readonly string[],
): Promise<Settings> {
  const source = file ?? "settings";
  const parsed = group.safeParse(applyOverrides(file === undefined ? {} : await readYaml(file), overrides));
  if (!parsed.success) throw new UserError(`${source}: a configuration is a map of settings`);
  await withOptions(resolveConfig(parsed.data, [], source).plugin);
  return { given: parsed.data, source };
}

/**
 * The mixture for a hello: the server's settings, overridden by the hello's, with K and D from either. A plugin file
 * is taken from the server's settings; from a hello only if the server belongs to that script (`owners`).
 *
 * @throws RejectError or UserError if the two contradict each other.
 */
export function settingsFor(hello: Hello, { given, source }: Settings, owners = false): MixtureSettings {
  const wish = parseWish(hello);
  resolveConfig(overlay(given, wish), [], source); // reports mistakes in the wish before its sizes are read
  const ours = sizes.parse(given);
  const theirs = sizes.parse(wish);
  const components = agreed("prototypes", hello, [
    ours.plugin?.components,
    theirs.plugin?.components,
    hello.components || undefined,
  ]);
  const dim = agreed("dimensions", hello, [ours.head?.dim, hello.dim || undefined]);
  if (dim === undefined)
    throw new RejectError("shape", `run "${hello.run}" does not say its embeddings' dimension`);
  const size = components === undefined ? [] : [`plugin.components=${components}`];
  const config = resolveConfig(overlay(given, wish), size, source);
  if (!owners) checkKind(hello, config, resolveConfig(given, [], source));
  const targets = wish.targets !== undefined;
  const onGpu = hello.executor > 0 && hello.device.startsWith("cuda");
  const chosen = choosePlacement({ ...config, head: { ...config.head, dim } }, onGpu);
  const holdsBatch = hello.world === 1 || chosen.placement === "device";
  const rankTargets = targets && holdsBatch && canMakeTargets(config) ? temperatureOf(config) : undefined;
  return { config, components: config.plugin.components, dim, targets, chosen, rankTargets };
}

/**
 * Whether a rank that holds the whole batch can make the targets. With a center or a memory it cannot: their state has
 * to outlive the rank, in the plugin.
 */
function canMakeTargets({ targets: { from, by, balance, memory } }: Config): boolean {
  return from === "similarity" && by === "rank" && balance !== "center" && memory === 0;
}

function temperatureOf({ targets }: Config): (clock: Clock) => { targetTemperature: number } {
  const temperature = targetTemperature(targets);
  return (clock) => ({ targetTemperature: temperature(clock) });
}

/** A shared server runs no plugin file that a script names: anyone who reaches the server could run any code. */
function checkKind({ run }: Hello, { plugin: { kind } }: Config, ours: Config): void {
  if (isBuiltIn(kind) || kind === ours.plugin.kind) return;
  throw new RejectError(
    "unknown",
    `run "${run}" asks for a plugin file: start the shared server with plugin.kind=${kind}`,
  );
}

/** Whether a hello asks for any settings. */
export function asksForSettings(hello: Hello): boolean {
  return Object.keys(parseWish(hello)).length > 0;
}

/** The number on which all given values agree; undefined if none is given. Throws RejectError if they differ. */
function agreed(what: string, { run }: Hello, said: (number | undefined)[]): number | undefined {
  const [first, other] = new Set(said.filter((number) => number !== undefined));
  if (other === undefined) return first;
  throw new RejectError("shape", `run "${run}" has ${other} ${what}; the configuration says ${first}`);
}

function parseWish({ run, config }: Hello): z.infer<typeof asked> {
  if (config === "") return {};
  let json: unknown;
  try {
    json = JSON.parse(config);
  } catch (cause) {
    throw new RejectError("unknown", `run "${run}" asks for settings that are not JSON: ${sentence(cause)}`);
  }
  const parsed = asked.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new RejectError(
    "unknown",
    `run "${run}" asks for settings that a hello cannot set: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}; allowed: seed, plugin, targets, train.steps, placement`,
  );
}

async function readYaml(file: string): Promise<unknown> {
  try {
    return parseYaml(await readFile(file, "utf8"), file) ?? {};
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file}: cannot be read: ${sentence(error)}`, { cause: error });
  }
}
