import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { sentence, UserError } from "../errors.ts";

/** What mkdtemp appends. */
const RANDOM_BYTES = 6;

/**
 * Makes a folder for temporary files that only this user can enter: in TMPDIR or, as Python's
 * `tempfile` does, in the first of /tmp, /var/tmp, /usr/tmp and the current folder that can be written to.
 *
 * `longest`: bytes that its path may have.
 *
 * @throws UserError if none can be made.
 */
export async function makeTemporaryFolder(
  prefix: string,
  longest = Number.POSITIVE_INFINITY,
): Promise<string> {
  const failures: string[] = [];
  for (const base of [tmpdir(), "/tmp", "/var/tmp", "/usr/tmp", "."]) {
    try {
      const path = resolve(base, prefix);
      if (Buffer.byteLength(path) + RANDOM_BYTES <= longest) return await mkdtemp(path);
      failures.push(`${base} is too long`);
    } catch (error) {
      failures.push(sentence(error));
    }
  }
  throw new UserError(`no temporary folder can be made, set TMPDIR to one: ${failures.join("; ")}`);
}
