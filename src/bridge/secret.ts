import { createHash, timingSafeEqual } from "node:crypto";

/** The SHA-256 of a run's secret, in hex. The secret itself is kept nowhere on this side; "" stays "": no secret. */
export function hashSecret(secret: string): string {
  return secret === "" ? "" : createHash("sha256").update(secret).digest("hex");
}

/** Whether somebody with a secret of hash `theirs` may go on with a run that was begun with one of hash `ours`. */
export function mayGoOn(theirs: string, ours: string): boolean {
  if (ours === "") return true; // begun without a secret
  return theirs.length === ours.length && timingSafeEqual(Buffer.from(theirs), Buffer.from(ours));
}
