import { randomUUID } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileError } from "./errors.ts";

/**
 * Writes a file whole or not at all: into a temporary file beside it, flushed to the disk, then
 * renamed. Missing folders are made. `mode`: its permissions, from the moment it exists. UserError if the place
 * cannot be written, RunError if the disk fails.
 */
export async function writeAtomic(
  path: string,
  parts: Iterable<Uint8Array | string>,
  mode = 0o666,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(temporary, "wx", mode);
    try {
      try {
        for (const part of parts) await file.writeFile(part);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      await syncFolder(dirname(path));
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to tell
      throw error;
    }
  } catch (error) {
    throw fileError("write", path, error);
  }
}

/** A rename survives a power cut only once its folder is on disk. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
