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
/** A public key without a name is that of `client`, or was added by hand. */
const allowedKey = z.union([key, z.strictObject({ name, key })]);
const serverFile = z.strictObject({ publicKey: key, secretKey: key, allowed: z.array(allowedKey) });
type ServerFile = z.infer<typeof serverFile>;

/** An admitted client. `name`: the name of its key file; "" if it has none. */
export interface AllowedKey {
  name: string;
  key: string;
}

const FIRST = "client";
const PRIVATE = 0o600;

/**
 * Opens the keys of a server that other machines can reach: `folder/server.json` holds its own pair and the public
 * keys of the admitted clients. If it is missing, it is made, with `folder/client.json` for the scripts, which find
 * their copy by `MIXHEAD_KEYS`. Both files are readable by this user alone.
 *
 * The server reads the list of clients at every connection, so a revoked key opens no new one.
 *
 * @throws UserError if the file is damaged.
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
 * Admits a client: writes its keys to `folder/NAME.json` and its public key to `folder/server.json`, which is made if
 * it is missing. @returns the client's file. @throws UserError if the name is invalid or taken.
 */
export async function makeKey(folder: string, wanted: string): Promise<string> {
  const parsed = name.safeParse(wanted);
  if (!parsed.success || wanted === "server") {
    throw new UserError(
      `"${printable(wanted)}" is not a valid key name; allowed: 1 to 60 letters, digits, _ and -`,
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

/** The admitted clients. @throws UserError if there are no keys. */
export async function listKeys(folder: string): Promise<AllowedKey[]> {
  const { allowed } = await readServer(folder);
  return allowed.map((each) => (typeof each === "string" ? { name: "", key: each } : each));
}

/**
 * Revokes a client's key, given its name or public key, and removes the client's file.
 *
 * @throws UserError if there is no such client.
 */
export async function revokeKey(folder: string, who: string): Promise<AllowedKey> {
  const server = await readServer(folder);
  const all = await listKeys(folder);
  const at = all.findIndex((each) => each.key === who || (each.name !== "" && each.name === who));
  const revoked = all[at];
  if (revoked === undefined) {
    const names = all.map((each) => each.name || each.key).join(", ");
    throw new UserError(`${folder} has no key "${printable(who)}"; it has: ${names || "none"}`);
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
  throw new UserError(
    `${file} does not hold valid keys: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}`,
  );
}

function writeSecret(file: string, keys: object): Promise<void> {
  return writeAtomic(file, [`${JSON.stringify(keys, null, 2)}\n`], PRIVATE);
}
