import { z } from "zod";
import { LIMITS } from "./limits.ts";

/** The versions of the protocol that this side speaks. A connection uses the highest that both sides speak. */
export const VERSIONS = { oldest: 2, newest: 3 } as const;

/**
 * What a client may or may not be able to do, by name. Unknown names are ignored, so that a newer client can name
 * more.
 */
const KNOWN = ["sparse"] as const;
export type Capability = (typeof KNOWN)[number];

/** What a rank and this server have agreed on. */
export interface Dialect {
  version: number;
  capabilities: readonly Capability[];
}

/** The part of a hello or welcome that holds the other side's versions. */
export const said = z.looseObject({
  type: z.enum(["hello", "welcome"]),
  version: z.int(), // in a hello the newest that it speaks, in a welcome the one agreed on
  oldest: z.int().optional(), // missing in a hello of version 2 and in a welcome: the same as `version`
});

/** The highest version that both sides speak; undefined if there is none. */
export function commonVersion({ version, oldest = version }: z.infer<typeof said>): number | undefined {
  const highest = Math.min(version, VERSIONS.newest);
  return highest >= Math.max(oldest, VERSIONS.oldest) ? highest : undefined;
}

/** "version 2" or "versions 2 to 3". */
export function rangeOf({
  version,
  oldest = version,
}: {
  version: number;
  oldest?: number | undefined;
}): string {
  return oldest === version ? `version ${version}` : `versions ${oldest} to ${version}`;
}

export const capabilities = z.array(z.string().max(LIMITS.text)).max(LIMITS.capabilities);

/** The known ones of a client's capabilities. A client of version 2 names none and has all that version 2 had. */
export function knownCapabilities(names: readonly string[] | undefined): Capability[] {
  return names === undefined ? ["sparse"] : KNOWN.filter((name) => names.includes(name));
}
