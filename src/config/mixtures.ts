import type { PluginConfig, TargetsConfig } from "./schema.ts";

/**
 * What is wrong with a number of mixtures, in one sentence; null where nothing is. `targets`: where they are made of
 * the plugin's responsibilities, maybe.
 */
export function mixturesProblem(
  { kind, components, mixtures }: Pick<PluginConfig, "components" | "mixtures"> & { kind?: string },
  targets?: TargetsConfig,
): string | null {
  const size = components / mixtures;
  if (mixtures === 1) return null;
  if (kind === "sinkhorn")
    return `plugin.mixtures is ${mixtures}, and plugin.kind sinkhorn has none; allowed: 1`;
  if (!Number.isInteger(size) || size < 2) {
    return `plugin.mixtures is ${mixtures}, and ${components} components cannot be split into ${mixtures} mixtures of equal size; allowed: divisors of plugin.components that leave each two components or more`;
  }
  if (targets?.from === "responsibility" && targets.balance === "none") {
    return `plugin.mixtures is ${mixtures}, and targets.balance=none takes responsibilities as they are, which sum to 1 in each; allowed: 1, or targets.balance=sinkhorn, center`;
  }
  return null;
}
