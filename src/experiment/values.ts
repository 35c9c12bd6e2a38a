import type { Config } from "../config/schema.ts";
import { CUSTOM, type PluginFactory } from "../plugins/registry.ts";
import type { OwnSchedules } from "../schedules/schedule.ts";

/** The functions of an experiment file. A configuration can only name them, so they travel beside it. */
export interface Values {
  schedules: OwnSchedules;
  factory: PluginFactory | undefined;
}

/** The settings that name a function which `values` does not have, such as "plugin.annealing". */
export function missingValues(config: Config, values: Values | undefined): string[] {
  // A plugin's own options may say what they like.
  const ours = { ...config, plugin: { ...config.plugin, options: undefined } };
  const missing = named(ours).flatMap(([path, text]) => (values?.schedules.has(text) ? [] : [path]));
  if (config.plugin.kind.startsWith(CUSTOM) && values?.factory === undefined) missing.push("plugin.kind");
  return missing;
}

/** Where a configuration says {custom: text}, at any depth, and the text. */
function named(value: unknown, path = ""): [path: string, text: string][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]): [string, string][] =>
    key === "custom" && typeof inner === "string"
      ? [[path, inner]]
      : named(inner, path === "" ? key : `${path}.${key}`),
  );
}
