import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { readSafetensors, writeSafetensors } from "../files/safetensors.ts";
import type { NamedTensors } from "../files/tensors.ts";

/** A mixture as a server leaves it behind. */
export interface SavedMixture {
  /** Steps taken. */
  step: number;
  state: NamedTensors;
  /** The hash of the secret that its run was begun with; "": none. */
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

/** What a server left there of this run and mixture, if anything. @throws UserError where the file is damaged. */
export async function readMixture(
  folder: string,
  run: string,
  mixture: string,
): Promise<SavedMixture | undefined> {
  const file = fileOf(folder, run, mixture);
  if (!existsSync(file)) return undefined;
  const { tensors, metadata: notes } = await readSafetensors(file);
  const parsed = metadata.safeParse(notes);
  if (!parsed.success) throw new UserError(`${file} is not a mixture's state: it does not say its step`);
  return { ...parsed.data, state: tensors };
}

/** Forgets what a server left there of this run and mixture: at once, since its next hello may be the next message. */
export function forgetMixture(folder: string, run: string, mixture: string): void {
  rmSync(fileOf(folder, run, mixture), { force: true });
}

/** A file's name has at most 255 bytes, that of the temporary file that becomes this one too. */
const MAX_PART = 100;

function fileOf(folder: string, run: string, mixture: string): string {
  return join(folder, `${part(run)}@${part(mixture)}.safetensors`);
}

/** Names come from the other side of the wire: encoded, none leaves the folder, and hashed, none is too long for it. */
function part(name: string): string {
  const encoded = encodeURIComponent(name);
  return encoded.length <= MAX_PART ? encoded : createHash("sha256").update(name).digest("hex");
}
