import { existsSync } from "node:fs";
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { curveKeyPair } from "zeromq";
import { z } from "zod";
import type { Security } from "../bridge/security.ts";
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";

const key = z.string().length(40, { error: "40 characters of Z85" });
const serverFile = z.strictObject({ publicKey: key, secretKey: key, allowed: z.array(key) });

/**
 * The keys of a server that other machines can reach: `folder/server.json`, its own pair and the public
 * keys of those who are let in. A folder without it gets one, and `folder/client.json`, which is for
 * the scripts: `MIXHEAD_KEYS` says to them where their copy is. Both are readable by this user alone.
 *
 * @throws UserError where the file is damaged.
 */
export async function openKeys(folder: string): Promise<Security> {
  const file = join(folder, "server.json");
  if (!existsSync(file)) await makeKeys(folder, file);
  const parsed = serverFile.safeParse(await readJson(file));
  if (!parsed.success) {
    throw new UserError(`${file} holds no keys: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}`);
  }
  const { allowed, ...serverKeys } = parsed.data;
  return { serverKeys, allowedClients: allowed };
}

async function makeKeys(folder: string, file: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const [server, client] = [curveKeyPair(), curveKeyPair()];
  await writeSecret(join(folder, "client.json"), {
    server: server.publicKey,
    public: client.publicKey,
    secret: client.secretKey,
  });
  await writeSecret(file, { ...server, allowed: [client.publicKey] });
}

async function writeSecret(file: string, keys: object): Promise<void> {
  await writeAtomic(file, [`${JSON.stringify(keys, null, 2)}\n`]);
  await chmod(file, 0o600);
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch {
    return undefined;
  }
}
