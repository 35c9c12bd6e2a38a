import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { curveKeyPair } from "zeromq";
import { z } from "zod";
import type { Security } from "../bridge/security.ts";
import { printable, UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { readJson } from "../files/json.ts";

const key = z.string().length(40, { error: "40 characters of Z85" });
const name = z.string().regex(/^[\w-]{1,60}$/, { error: "1 to 60 letters, digits, _ and -" });
/** A public key alone is that of `client`, or of somebody who was put there by hand. */
const allowedKey = z.union([key, z.strictObject({ name, key })]);
const serverFile = z.strictObject({ publicKey: key, secretKey: key, allowed: z.array(allowedKey) });
type ServerFile = z.infer<typeof serverFile>;

/** Somebody who is let in. `name` is that of the file with their keys; "" where nobody gave one. */
export interface AllowedKey {
  name: string;
  key: string;
}

const FIRST = "client";
const PRIVATE = 0o600;

/**
 * The keys of a server that other machines can reach: `folder/server.json`, its own pair and the public
 * keys of those who are let in. A folder without it gets one, and `folder/client.json`, which is for
 * the scripts: `MIXHEAD_KEYS` says to them where their copy is. Both are readable by this user alone.
 *
 * Whom the file lets in is read anew for every connection: a key that was revoked opens none any more.
 *
 * @throws UserError where the file is damaged.
 */
export async function openKeys(folder: string): Promise<Security> {
  if (!existsSync(serverPath(folder))) await makeKey(folder, FIRST);
  const { publicKey, secretKey, allowed } = await readServer(folder);
  return {
    serverKeys: { publicKey, secretKey },
    allowedClients: allowed.map(toKey),
    allowedNow: async () => (await readServer(folder)).allowed.map(toKey),
  };
}

/**
 * Lets somebody in: writes their keys to `folder/NAME.json`, and their public key to `folder/server.json`, which is
 * made where it is missing. @returns the file that is theirs. @throws UserError where the name is none or taken.
 */
export async function makeKey(folder: string, wanted: string): Promise<string> {
  const parsed = name.safeParse(wanted);
  if (!parsed.success || wanted === "server") {
    throw new UserError(
      `"${printable(wanted)}" is no name of a key; allowed: 1 to 60 letters, digits, _ and -`,
    );
  }
  const file = join(folder, `${wanted}.json`);
  if (existsSync(file)) throw new UserError(`${file} exists: give another name, or revoke that key first`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const isNew = !existsSync(serverPath(folder));
  const server = isNew ? { ...curveKeyPair(), allowed: [] } : await readServer(folder);
  const client = curveKeyPair();
  const keys = { server: server.publicKey, public: client.publicKey, secret: client.secretKey };
  await writeSecret(file, keys);
  await writeSecret(serverPath(folder), {
    ...server,
    allowed: [...server.allowed, { name: wanted, key: client.publicKey }],
  });
  return file;
}

/** Those who are let in. @throws UserError where there are no keys. */
export async function listKeys(folder: string): Promise<AllowedKey[]> {
  const { allowed } = await readServer(folder);
  return allowed.map((each) => (typeof each === "string" ? { name: "", key: each } : each));
}

/**
 * Lets somebody in no more, by the name or the public key, and removes the file with their keys.
 *
 * @throws UserError where nobody is called so.
 */
export async function revokeKey(folder: string, who: string): Promise<AllowedKey> {
  const server = await readServer(folder);
  const all = await listKeys(folder);
  const at = all.findIndex((each) => each.key === who || (each.name !== "" && each.name === who));
  const revoked = all[at];
  if (revoked === undefined) {
    const names = all.map((each) => each.name || each.key).join(", ");
    throw new UserError(`${folder} lets nobody in called "${printable(who)}"; there are: ${names || "none"}`);
  }
  await writeSecret(serverPath(folder), { ...server, allowed: server.allowed.filter((_, i) => i !== at) });
  if (revoked.name !== "") await rm(join(folder, `${revoked.name}.json`), { force: true });
  return revoked;
}

function serverPath(folder: string): string {
  return join(folder, "server.json");
}

function toKey(allowed: ServerFile["allowed"][number]): string {
  return typeof allowed === "string" ? allowed : allowed.key;
}

async function readServer(folder: string): Promise<ServerFile> {
  const file = serverPath(folder);
  const parsed = serverFile.safeParse(await readJson(file));
  if (parsed.success) return parsed.data;
  throw new UserError(`${file} holds no keys: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}`);
}

function writeSecret(file: string, keys: object): Promise<void> {
  return writeAtomic(file, [`${JSON.stringify(keys, null, 2)}\n`], PRIVATE);
}
