import type { PluginConfig } from "./schema.ts";

/** Why the components cannot be parted into so many mixtures, in one sentence; null where they can. */
export function mixturesProblem({
  components,
  mixtures,
}: Pick<PluginConfig, "components" | "mixtures">): string | null {
  const size = components / mixtures;
  if (mixtures === 1 || (Number.isInteger(size) && size > 1)) return null;
  return `plugin.mixtures is ${mixtures}, and ${components} components make no ${mixtures} mixtures of one size; allowed: divisors of plugin.components that leave each two components or more`;
}
