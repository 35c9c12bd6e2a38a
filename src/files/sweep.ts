import { readdir, rm, stat } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A younger socket may be bound without anybody listening yet. */
const OLD_MS = 60_000;

/**
 * Removes the folders `PREFIX......` of sockets in the temporary folder whose process was killed: this user's, older
 * than a minute, in which nobody answers at `socket`. What cannot be looked at or removed is left alone.
 */
export async function sweepSockets(prefix: string, socket: string): Promise<void> {
  const base = tmpdir();
  const names = await readdir(base).catch(() => []);
  const ours = names.filter((name) => name.startsWith(prefix) && name.length === prefix.length + 6);
  await Promise.all(ours.map((name) => sweep(join(base, name), socket)));
}

async function sweep(folder: string, socket: string): Promise<void> {
  try {
    const { uid, mode } = await stat(folder);
    if (uid !== process.getuid?.() || (mode & 0o777) !== 0o700) return;
    const [only, ...others] = await readdir(folder);
    // A folder without its socket may be that of a server that is about to bind.
    if (only !== socket || others.length > 0) return;
    const file = await stat(join(folder, socket));
    if (!file.isSocket() || Date.now() - file.mtimeMs < OLD_MS) return;
    if (!(await answers(join(folder, socket)))) await rm(folder, { recursive: true, force: true });
  } catch {
    // another process removed it meanwhile
  }
}

/** Whether a process listens on a socket file. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error) => resolve(!("code" in error && error.code === "ECONNREFUSED")));
  });
}
