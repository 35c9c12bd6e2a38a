import { differenceAt } from "../config/difference.ts";
import type { MixtureSettings } from "./settings.ts";

/** The first setting in which a mixture that is there and one that is asked for here differ; null: none. */
export function firstDifference(there: MixtureSettings, here: MixtureSettings): string | null {
  if (there.targets !== here.targets) {
    return here.targets
      ? "targets are left out there, asked for here"
      : "targets are asked for there, left out here";
  }
  return differenceAt("", there.config, here.config);
}
