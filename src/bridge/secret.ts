import { createHash, timingSafeEqual } from "node:crypto";

/** The SHA-256 of a run's secret, in hex. The secret itself is not stored. "" (no secret) stays "". */
export function hashSecret(secret: string): string {
  return secret === "" ? "" : createHash("sha256").update(secret).digest("hex");
}

/** Whether a client whose secret has the hash `theirs` may continue a run whose secret has the hash `ours`. */
export function mayGoOn(theirs: string, ours: string): boolean {
  if (ours === "") return true; // the run has no secret
  return theirs.length === ours.length && timingSafeEqual(Buffer.from(theirs), Buffer.from(ours));
}
