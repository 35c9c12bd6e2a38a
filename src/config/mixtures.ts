import type { PluginConfig, TargetsConfig } from "./schema.ts";

/**
 * The problem with a number of mixtures, in one sentence; null if there is none. `targets`: checked as well if given,
 * since they may be made from responsibilities.
 */
export function mixturesProblem(
  { kind, components, mixtures }: Pick<PluginConfig, "components" | "mixtures"> & { kind?: string },
  targets?: TargetsConfig,
): string | null {
  const size = components / mixtures;
  if (mixtures === 1) return null;
  if (kind === "sinkhorn")
    return `plugin.mixtures is ${mixtures}, but plugin.kind sinkhorn has none; allowed: 1`;
  if (!Number.isInteger(size) || size < 2) {
    return `plugin.mixtures is ${mixtures}, but ${components} components cannot be split into ${mixtures} mixtures of equal size; allowed: divisors of plugin.components that leave each two components or more`;
  }
  if (targets?.from === "responsibility" && targets.balance === "none") {
    return `plugin.mixtures is ${mixtures}, but targets.balance=none uses responsibilities unchanged, and these sum to 1 in each mixture; allowed: 1, or targets.balance=sinkhorn, center`;
  }
  return null;
}
