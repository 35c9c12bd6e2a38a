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

/** What a configuration says before its defaults are filled in: only what it says binds a hello. */
export interface Settings {
  given: Record<string, unknown>;
  /** What errors call it: the file, or "settings". */
  source: string;
}

/** The mixture that a hello of its run and the server's settings describe together. */
export interface MixtureSettings {
  config: Config;
  /** K. */
  components: number;
  /** D. */
  dim: number;
  /** Whether the script asks for targets; a loss of its own needs none. */
  targets: boolean;
  /** Where it is computed for the rank that says hello. */
  chosen: Chosen;
  /** The scalars by which the rank makes them itself; left out where the plugin does. */
  rankTargets?: ((clock: Clock) => { targetTemperature: number }) | undefined;
}

const group = z.record(z.string(), z.unknown());

/** What a hello may ask for: what belongs to one mixture, nothing that is the server's. */
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
 * A configuration file with overrides such as `plugin.variance=0.05` laid over it; without a file the
 * overrides alone. @throws UserError with a sentence for each mistake.
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
 * The mixture for a hello: the server's settings, over them what the hello asks for, and K and D of
 * whoever says them. A plugin in a file of the user's is taken from the server's settings, and from a hello
 * only where that is `owners`: of the script that the server belongs to.
 *
 * @throws RejectError or UserError where the two do not go together.
 */
export function settingsFor(hello: Hello, { given, source }: Settings, owners = false): MixtureSettings {
  const wish = parseWish(hello);
  resolveConfig(overlay(given, wish), [], source); // what is wrong in the wish is said before its sizes are read
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
 * A rank that holds the whole batch makes targets of similarities by itself; what a center or a memory holds has to
 * outlive it, in the plugin's state.
 */
function canMakeTargets({ targets: { from, by, balance, memory } }: Config): boolean {
  return from === "similarity" && by === "rank" && balance !== "center" && memory === 0;
}

function temperatureOf({ targets }: Config): (clock: Clock) => { targetTemperature: number } {
  const temperature = targetTemperature(targets);
  return (clock) => ({ targetTemperature: temperature(clock) });
}

/** A server that scripts share runs no file that one of them names: whoever reaches it could run anything. */
function checkKind({ run }: Hello, { plugin: { kind } }: Config, ours: Config): void {
  if (isBuiltIn(kind) || kind === ours.plugin.kind) return;
  throw new RejectError(
    "unknown",
    `run "${run}" asks for a plugin of its own: a server that scripts share has to be started with it (plugin.kind=${kind})`,
  );
}

/** Whether a hello asks for anything; one that does not is content with whatever is there. */
export function asksForSettings(hello: Hello): boolean {
  return Object.keys(parseWish(hello)).length > 0;
}

/** The one number that all who say one say. */
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
    `run "${run}" asks for settings that are not a mixture's: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}; allowed: seed, plugin, targets, train.steps, placement`,
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
