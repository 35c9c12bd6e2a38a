import type { NamedTensors } from "../plugins/plugin.ts";

/** A part of a state, under names that no other part has. */
export function prefixed(prefix: string, state: NamedTensors): NamedTensors {
  return Object.fromEntries(Object.entries(state).map(([name, tensor]) => [`${prefix}.${name}`, tensor]));
}

/** What `prefixed` was given. */
export function unprefixed(prefix: string, state: NamedTensors): NamedTensors {
  return Object.fromEntries(
    Object.entries(state)
      .filter(([name]) => name.startsWith(`${prefix}.`))
      .map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]),
  );
}
