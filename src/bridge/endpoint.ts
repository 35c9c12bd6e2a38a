import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { answers, sweepSockets } from "../files/sweep.ts";
import { makeTemporaryFolder } from "../files/temporary.ts";

/** Linux stores a socket's path in 108 bytes, macOS and the BSDs in 104, including a final zero byte. */
const MAX_PATH_BYTES = process.platform === "linux" ? 107 : 103;

/** Where a server binds, and how to remove what it created there. */
export interface Endpoint {
  address: string;
  remove(): Promise<void>;
}

/**
 * "auto": a socket in a new folder that only this user can enter. Otherwise ipc:// or tcp:// as given. An address
 * beyond loopback needs keys (`secured`). Throws UserError if the endpoint is invalid, in use, or not secured.
 */
export async function chooseEndpoint(wanted: string, secured: boolean): Promise<Endpoint> {
  if (wanted === "auto") return privateSocket();
  const [, transport, rest = ""] = /^(ipc|tcp):\/\/(.+)$/.exec(wanted) ?? [];
  if (transport === "tcp") {
    if (!secured && !isLoopback(rest)) {
      throw new UserError(
        `${wanted} can be reached from other machines: give keys (CURVE) with the list of allowed clients, or bind tcp://127.0.0.1`,
      );
    }
  } else if (transport === "ipc") {
    if (rest.startsWith("@") || Buffer.byteLength(rest) > MAX_PATH_BYTES) {
      throw new UserError(
        `${wanted}: the path of a socket names a file and has at most ${MAX_PATH_BYTES} bytes`,
      );
    }
    // A bind would silently take the socket from the process that listens there.
    if (existsSync(rest) && (await answers(rest)))
      throw new UserError(`${wanted} is in use by another process`);
  } else {
    throw new UserError(`the endpoint "${wanted}" is invalid; allowed: auto, ipc://PATH, tcp://HOST:PORT`);
  }
  return { address: wanted, remove: async () => {} };
}

async function privateSocket(): Promise<Endpoint> {
  const [prefix, name] = ["mixhead-", "bridge"];
  await sweepSockets(prefix, name); // sockets of killed servers
  const folder = await makeTemporaryFolder(prefix, MAX_PATH_BYTES - `/${name}`.length);
  return {
    address: `ipc://${join(folder, name)}`,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

function isLoopback(hostAndPort: string): boolean {
  const host = hostAndPort.replace(/:[^:]*$/, "");
  return host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);
}
