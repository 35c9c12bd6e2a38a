import type { Config } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { CUSTOM, type Values } from "../plugins/registry.ts";

/** The settings that name a function which `values` does not have, such as "plugin.annealing". */
export function missingValues(config: Config, values: Values | undefined): string[] {
  // A plugin's own options are not checked here.
  const ours = { ...config, plugin: { ...config.plugin, options: undefined } };
  const missing = named(ours).flatMap(([path, text]) => (values?.schedules.has(text) ? [] : [path]));
  if (config.plugin.kind.startsWith(CUSTOM) && values?.factory === undefined) missing.push("plugin.kind");
  return missing;
}

/** @throws UserError if trainings cannot resume without the run's experiment file. */
export function checkValues(
  run: string,
  jobs: readonly { arm: string; config: Config; values?: Values }[],
): void {
  for (const { arm, config, values } of jobs) {
    const [missing] = missingValues(config, values);
    if (missing === undefined) continue;
    throw new UserError(
      `runs/${run} goes on only from the experiment file that began it, since ${missing} of ${arm} is a function: run that file again`,
    );
  }
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
