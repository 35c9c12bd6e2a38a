import { z } from "zod";
import { LIMITS } from "./limits.ts";

/** The versions of the protocol that this side speaks. Of those that both sides speak, the highest is used. */
export const VERSIONS = { oldest: 2, newest: 3 } as const;

/**
 * What a client may or may not be able to do, by name. Names that this side does not know are passed over, so that
 * a newer client can say more.
 */
const KNOWN = ["sparse"] as const;
export type Capability = (typeof KNOWN)[number];

/** What a rank and this server have agreed on. */
export interface Dialect {
  version: number;
  capabilities: readonly Capability[];
}

/** The part of a hello or welcome in which the other side says what it speaks. */
export const said = z.looseObject({
  type: z.enum(["hello", "welcome"]),
  version: z.int(), // the newest that it speaks; of a welcome the one agreed on
  oldest: z.int().optional(), // left out by version 2 and in a welcome: `version` alone
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

/** What a client has said that it can do. A client of version 2 says nothing, and can do all that version 2 had. */
export function knownCapabilities(names: readonly string[] | undefined): Capability[] {
  return names === undefined ? ["sparse"] : KNOWN.filter((name) => names.includes(name));
}
