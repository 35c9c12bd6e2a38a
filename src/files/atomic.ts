import { randomUUID } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileError } from "./errors.ts";

/**
 * Writes a file whole or not at all: into a temporary file beside it, flushed to the disk, then
 * renamed. Missing folders are made. `mode`: who may read it, from its first moment on. UserError where the place
 * cannot be written.
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
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  } catch (error) {
    throw fileError("write", path, error);
  }
}
