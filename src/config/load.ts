import { readFile } from "node:fs/promises";
import { parseDocument, stringify } from "yaml";
import { sentence, UserError } from "../errors.ts";
import { explain } from "./explain.ts";
import { withMethod } from "./methods.ts";
import { mixturesProblem } from "./mixtures.ts";
import { withPreset } from "./presets.ts";
import { type Config, config as schema } from "./schema.ts";

type Settings = Record<string, unknown>;

/**
 * Reads a YAML configuration, applies overrides such as `train.lr=0.001`, and fills in the defaults.
 *
 * @throws UserError with a sentence for each mistake
 */
export async function loadConfig(file: string, overrides: readonly string[] = []): Promise<Config> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new UserError(`${file}: cannot be read: ${sentence(error)}`, { cause: error });
  }
  return resolveConfig(parseYaml(text, file), overrides, file);
}

/** The same for settings in memory. `source` names them in error messages. */
export function resolveConfig(
  settings: unknown,
  overrides: readonly string[] = [],
  source = "settings",
): Config {
  const input = withPreset(withMethod(applyOverrides(settings ?? {}, overrides)), source);
  const parsed = schema.safeParse(input);
  if (!parsed.success) {
    throw new UserError(
      explain(parsed.error, input, schema)
        .split("\n")
        .map((line) => `${source}: ${line}`)
        .join("\n"),
    );
  }
  const { data, plugin, targets, train } = parsed.data;
  const problem = mixturesProblem(plugin, targets);
  if (problem !== null) throw new UserError(`${source}: ${problem}`);
  if (train.stop !== undefined && train.stop > train.steps) {
    throw new UserError(
      `${source}: train.stop is ${train.stop}; allowed: at most train.steps, which is ${train.steps}`,
    );
  }
  if (targets.memory > 0 && targets.balance !== "sinkhorn") {
    throw new UserError(
      `${source}: targets.memory is ${targets.memory}, but targets.balance ${targets.balance} keeps no rows; allowed: 0, or targets.balance=sinkhorn`,
    );
  }
  const mistake = heldOutMistake(data);
  if (mistake !== null) throw new UserError(`${source}: data.heldOut is ${data.heldOut}, ${mistake}`);
  return parsed.data;
}

/** The setting that contradicts `data.heldOut`, and what is allowed, as the end of a sentence; null if none does. */
function heldOutMistake({ name, train, test, heldOut }: Config["data"]): string | null {
  if (heldOut === undefined) return null;
  if (name === "folder" || name === "inat2018") {
    return `and data.name ${name}; allowed: cifar10, cifar10-lt, fashion-mnist, or no data.heldOut`;
  }
  if (test !== "all") return `and data.test ${test}; allowed: data.heldOut or data.test, not both`;
  if (train === "all" && name !== "cifar10-lt") {
    return "and data.train all, which leaves no images over; allowed: a number as data.train";
  }
  return null;
}

/** The configuration as YAML that `loadConfig` reads back to the same. */
export function configYaml(value: unknown): string {
  return stringify(value, { flowCollectionPadding: false, aliasDuplicateObjects: false });
}

/** Parses YAML into plain data. @throws UserError if it is not YAML, or if its aliases are circular */
export function parseYaml(text: string, source: string): unknown {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw new UserError(`${source}: not YAML: ${error.message.split("\n")[0]}`);
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    throw new UserError(`${source}: an alias cannot be followed: ${sentence(error)}`, { cause: error });
  }
  try {
    JSON.stringify(value);
  } catch (error) {
    throw new UserError(`${source}: an anchor contains an alias of itself`, { cause: error });
  }
  return value;
}

/** Applies overrides such as `train.lr=0.001` to settings. @throws UserError if one is malformed */
export function applyOverrides(settings: unknown, overrides: readonly string[]): unknown {
  let result = settings;
  for (const override of overrides) {
    const split = override.indexOf("=");
    const keys = override.slice(0, split).split(".");
    if (split < 1 || keys.includes("")) {
      throw new UserError(`"${override}" is not an override; write key.sub=value, such as train.lr=0.001`);
    }
    const value = parseYaml(override.slice(split + 1), `"${override}"`);
    if (isSettings(result)) result = withAt(result, keys, value);
  }
  return result;
}

/**
 * Returns `settings` with `value` at `keys`, creating missing groups. Built from entries, `__proto__` is
 * an ordinary key; an assignment would change the prototype instead.
 */
function withAt(settings: unknown, [key, ...rest]: string[], value: unknown): unknown {
  if (key === undefined) return value;
  const group = new Map(isSettings(settings) ? Object.entries(settings) : []);
  return Object.fromEntries(group.set(key, withAt(group.get(key), rest, value)));
}

function isSettings(value: unknown): value is Settings {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
