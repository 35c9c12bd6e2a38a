import { isDeepStrictEqual } from "node:util";
import { isGroup } from "./overlay.ts";

/** The first setting under `path` in which two configurations differ, with both values; null if there is none. */
export function differenceAt(path: string, there: unknown, here: unknown): string | null {
  if (isDeepStrictEqual(there, here)) return null;
  if (!isGroup(there) || !isGroup(here)) {
    return `${path} is ${JSON.stringify(there)} there, ${JSON.stringify(here)} here`;
  }
  const [old, next] = [new Map(Object.entries(there)), new Map(Object.entries(here))];
  for (const key of new Set([...old.keys(), ...next.keys()])) {
    const found = differenceAt(path === "" ? key : `${path}.${key}`, old.get(key), next.get(key));
    if (found !== null) return found;
  }
  return null;
}
