import { resolveConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { CUSTOM, type Values } from "../plugins/registry.ts";
import { invocation } from "./invocation.ts";
import { type Described, describeSettings, overlayDescribed } from "./settings.ts";

/** An arm that can be trained: its name, its whole configuration, and the functions in it. */
export type ResolvedArm = [arm: string, config: Config, values: Values];

/** Resolves each arm's settings over those of all arms, and the command line's over both. @throws UserError */
export function resolveArms(
  base: unknown,
  arms: readonly (readonly [arm: string, settings: unknown])[],
): ResolvedArm[] {
  if (arms.length === 0) throw new UserError("there is no arm to train");
  const shared = describeSettings(base);
  return arms.map(([arm, settings]) => resolveArm(shared, arm, settings));
}

/** Resolves the settings of one arm over `base`. @throws UserError that names the arm if they are not allowed */
export function resolveArm(base: Described, arm: string, settings: unknown): ResolvedArm {
  const { record, values } = overlayDescribed(base, describeSettings(settings));
  const config = resolveConfig(record, invocation().overrides, arm);
  if (config.plugin.options !== undefined && config.plugin.kind.startsWith(CUSTOM)) {
    throw new UserError(
      `${arm}: plugin.kind is a function, which takes no plugin.options: use a closure, or name the file that exports it`,
    );
  }
  return [arm, config, values];
}
