import type { NamedTensors } from "../files/tensors.ts";

/** Adds a prefix to the names of one part of a whole, such as a state. */
export function prefixed<T>(prefix: string, part: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(part).map(([name, value]) => [`${prefix}.${name}`, value]));
}

/** The inverse of `prefixed`: the entries with the prefix, without it. */
export function unprefixed(prefix: string, state: NamedTensors): NamedTensors {
  return Object.fromEntries(
    Object.entries(state)
      .filter(([name]) => name.startsWith(`${prefix}.`))
      .map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]),
  );
}
