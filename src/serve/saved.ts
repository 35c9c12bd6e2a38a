import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { readSafetensors, writeSafetensors } from "../files/safetensors.ts";
import type { NamedTensors } from "../files/tensors.ts";

/** A mixture as a server saves it. */
export interface SavedMixture {
  /** Steps taken. */
  step: number;
  state: NamedTensors;
  /** The hash of its run's secret; "": none. */
  secret: string;
}

const metadata = z.object({
  step: z.coerce.number().int().nonnegative(),
  secret: z
    .string()
    .regex(/^([0-9a-f]{64})?$/)
    .default(""),
});

/** Writes `folder/RUN@MIXTURE.safetensors`, whole or not at all. @returns the file. */
export async function saveMixture(
  folder: string,
  run: string,
  mixture: string,
  { step, state, secret }: SavedMixture,
): Promise<string> {
  const file = fileOf(folder, run, mixture);
  await writeSafetensors(file, state, { run, mixture, step: String(step), secret });
  return file;
}

/** Reads the saved mixture, if there is one. @throws UserError if the file is damaged. */
export async function readMixture(
  folder: string,
  run: string,
  mixture: string,
): Promise<SavedMixture | undefined> {
  const file = fileOf(folder, run, mixture);
  if (!existsSync(file)) return undefined;
  const { tensors, metadata: notes } = await readSafetensors(file);
  const parsed = metadata.safeParse(notes);
  if (!parsed.success) throw new UserError(`${file} is not a mixture's state: its metadata holds no step`);
  return { ...parsed.data, state: tensors };
}

/** Removes the saved mixture, synchronously, since the next message may be a hello for it. */
export function forgetMixture(folder: string, run: string, mixture: string): void {
  rmSync(fileOf(folder, run, mixture), { force: true });
}

/** A file name has at most 255 bytes, and the name of the temporary file is longer than the final one. */
const MAX_PART = 100;

function fileOf(folder: string, run: string, mixture: string): string {
  return join(folder, `${part(run)}@${part(mixture)}.safetensors`);
}

/** A name from the network as part of a file name: encoded, so that it cannot leave the folder, or hashed if too long. */
function part(name: string): string {
  const encoded = encodeURIComponent(name);
  return encoded.length <= MAX_PART ? encoded : createHash("sha256").update(name).digest("hex");
}
