import { differenceAt } from "../config/difference.ts";
import type { MixtureSettings } from "./settings.ts";

/** The first setting in which the existing mixture (`there`) and the requested one (`here`) differ; null: none. */
export function firstDifference(there: MixtureSettings, here: MixtureSettings): string | null {
  if (there.targets !== here.targets) {
    return here.targets
      ? "the run has no targets, this script asks for them"
      : "the run has targets, this script asks for none";
  }
  return differenceAt("", there.config, here.config);
}
