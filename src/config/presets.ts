import { UserError } from "../errors.ts";
import { isGroup, overlay } from "./overlay.ts";

/**
 * Presets: several settings of the plugin under one name.
 *
 * `paper`: the mixture of arXiv 2510.20108. The paper does not specify the annealing of responsibilities and the
 * memory of components. Here beta rises from .5 to 1 in 500 steps, and the memory is the default. There is no prior,
 * and idle components do not start again.
 */
const PRESETS = new Map<unknown, object>([
  [
    "paper",
    {
      covariance: "diagonal",
      weights: "estimated",
      forgetting: { by: "responsibility" },
      annealing: { cosine: { from: 0.5, to: 1, steps: 500 } },
      prior: { strength: 0 },
      use: { share: 0 },
    },
  ],
]);

/** Adds the settings of `plugin.preset`. @throws UserError if a setting contradicts the preset */
export function withPreset(settings: unknown, source: string): unknown {
  const plugin = isGroup(settings) && "plugin" in settings ? settings.plugin : undefined;
  const name = isGroup(plugin) && "preset" in plugin ? plugin.preset : undefined;
  const preset = PRESETS.get(name);
  if (preset === undefined) return settings;
  const clash = contradiction(preset, plugin, "plugin");
  if (clash !== undefined) {
    throw new UserError(
      `${source}: ${clash.key} is ${clash.given}; allowed with plugin.preset ${name}: ${clash.preset}`,
    );
  }
  return overlay({ plugin: preset }, settings);
}

/** Settings that the paper does not specify or does not have. Other values do not contradict it. */
const OPEN: readonly string[] = ["plugin.annealing", "plugin.prior", "plugin.use"];

/** The first setting that contradicts a preset; undefined if there is none. */
function contradiction(
  preset: unknown,
  given: unknown,
  key: string,
): { key: string; given: string; preset: string } | undefined {
  if (given === undefined || OPEN.includes(key)) return undefined;
  if (!isGroup(preset) || !isGroup(given)) {
    return preset === given
      ? undefined
      : { key, given: JSON.stringify(given), preset: JSON.stringify(preset) };
  }
  const settings = new Map(Object.entries(given));
  return Object.entries(preset)
    .map(([name, value]) => contradiction(value, settings.get(name), `${key}.${name}`))
    .find((clash) => clash !== undefined);
}
