import { isDeepStrictEqual } from "node:util";
import { isGroup } from "./overlay.ts";

/** The first setting under `path` in which two configurations differ, with both values; null if there is none. */
export function differenceAt(path: string, there: unknown, here: unknown): string | null {
  const found = firstDifference(path, there, here);
  if (found === null) return null;
  return `${found.path} is ${JSON.stringify(found.there)} there, ${JSON.stringify(found.here)} here`;
}

/** A setting, and its value in either configuration. */
export interface Difference {
  path: string;
  there: unknown;
  here: unknown;
}

/** The same as data. */
export function firstDifference(path: string, there: unknown, here: unknown): Difference | null {
  if (isDeepStrictEqual(there, here)) return null;
  if (!isGroup(there) || !isGroup(here)) return { path, there, here };
  const [old, next] = [new Map(Object.entries(there)), new Map(Object.entries(here))];
  for (const key of new Set([...old.keys(), ...next.keys()])) {
    const found = firstDifference(path === "" ? key : `${path}.${key}`, old.get(key), next.get(key));
    if (found !== null) return found;
  }
  return null;
}
