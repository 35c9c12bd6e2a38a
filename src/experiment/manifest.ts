import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { parseJson } from "../files/json.ts";
import { version } from "../files/version.ts";

const FILE = "manifest.json";
/** Lists the files of a checkpoint. */
const FORMAT = 1;

/** Which training a checkpoint is of. */
export interface Origin {
  /** The run's id; runs of earlier versions have none. */
  run?: string | undefined;
  arm: string;
  seed: number;
}

const writer = z.looseObject({ format: z.int(), mixhead: z.string() });
const manifest = z.strictObject({
  format: z.literal(FORMAT),
  mixhead: z.string(),
  run: z.string().optional(),
  arm: z.string(),
  seed: z.int().nonnegative(),
  files: z.record(
    z.string().regex(/^\w[\w.-]*$/),
    z.strictObject({ bytes: z.int().nonnegative(), sha256: z.string() }),
  ),
});

/** Writes manifest.json into a checkpoint's folder: whose it is, and the SHA-256 of each file that is in it. */
export async function writeManifest(folder: string, { run, arm, seed }: Origin): Promise<void> {
  const files: z.infer<typeof manifest>["files"] = {};
  for (const name of (await readdir(folder)).sort()) {
    if (name !== FILE) files[name] = await digest(join(folder, name));
  }
  const content = { format: FORMAT, mixhead: version, ...(run && { run }), arm, seed, files };
  await writeAtomic(join(folder, FILE), [`${JSON.stringify(content, null, 1)}\n`]);
}

/**
 * Compares every file of a checkpoint with its manifest. False: it has none, as those of earlier versions, and
 * nothing is compared.
 *
 * @throws UserError if it is damaged, of another version, or of another training than `origin`.
 */
export async function checkManifest(folder: string, origin?: Origin): Promise<boolean> {
  const text = await readFile(join(folder, FILE), "utf8").catch(() => null);
  if (text === null) return false;
  const value = parseJson(text);
  const by = writer.safeParse(value).data;
  if (by !== undefined && by.format !== FORMAT) {
    throw new UserError(
      `${folder} is of format ${by.format}, by mixhead ${by.mixhead}: this version reads format ${FORMAT}`,
    );
  }
  const parsed = manifest.safeParse(value);
  if (!parsed.success) throw new UserError(`${folder} is damaged: its ${FILE} is not a manifest`);
  const { run, arm, seed, files } = parsed.data;
  if (run !== undefined && origin?.run !== undefined && run !== origin.run) {
    throw new UserError(`${folder} is a checkpoint of another run`);
  }
  if (origin !== undefined && (arm !== origin.arm || seed !== origin.seed)) {
    throw new UserError(`${folder} is a checkpoint of ${arm}, seed ${seed}`);
  }
  for (const [name, expected] of Object.entries(files)) {
    const problem = await differenceIn(join(folder, name), expected);
    if (problem !== null) throw new UserError(`${folder} is damaged: ${problem}`);
  }
  return true;
}

async function differenceIn(path: string, expected: { bytes: number; sha256: string }) {
  const name = basename(path);
  const { bytes, sha256 } = await digest(path).catch(() => ({ bytes: -1, sha256: "" }));
  if (bytes < 0) return `its ${name} is missing or cannot be read`;
  if (bytes !== expected.bytes) return `its ${name} has ${bytes} bytes instead of ${expected.bytes}`;
  return sha256 === expected.sha256 ? null : `its ${name} is not what was written there`;
}

async function digest(path: string) {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}
