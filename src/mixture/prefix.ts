import type { NamedTensors } from "../plugins/plugin.ts";

/** A part of a whole, such as a state, under names that no other part has. */
export function prefixed<T>(prefix: string, part: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(part).map(([name, value]) => [`${prefix}.${name}`, value]));
}

/** What `prefixed` was given. */
export function unprefixed(prefix: string, state: NamedTensors): NamedTensors {
  return Object.fromEntries(
    Object.entries(state)
      .filter(([name]) => name.startsWith(`${prefix}.`))
      .map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]),
  );
}
