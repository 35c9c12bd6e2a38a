import { isDeepStrictEqual } from "node:util";
import { isGroup } from "../config/overlay.ts";
import type { MixtureSettings } from "./settings.ts";

/** The first setting in which a mixture that is there and one that is asked for here differ; undefined: none. */
export function firstDifference(there: MixtureSettings, here: MixtureSettings): string | undefined {
  if (there.targets !== here.targets) {
    return here.targets
      ? "targets are left out there, asked for here"
      : "targets are asked for there, left out here";
  }
  return differenceAt([], there.config, here.config);
}

/** Both are whole configurations, which have the same keys. */
function differenceAt(path: readonly string[], there: unknown, here: unknown): string | undefined {
  if (isDeepStrictEqual(there, here)) return undefined;
  if (!isGroup(there) || !isGroup(here)) {
    return `${path.join(".")} is ${JSON.stringify(there)} there, ${JSON.stringify(here)} here`;
  }
  const old = new Map(Object.entries(there));
  for (const [key, value] of Object.entries(here)) {
    const found = differenceAt([...path, key], old.get(key), value);
    if (found !== undefined) return found;
  }
  return undefined;
}
