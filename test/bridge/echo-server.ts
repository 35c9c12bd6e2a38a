/** A plugin in a process of its own, to be killed: `node --import ./register.mjs test/bridge/echo-server.ts ENDPOINT`. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";

const endpoint = process.argv[2] ?? "auto";
if (endpoint.startsWith("ipc://"))
  mkdirSync(dirname(endpoint.slice("ipc://".length)), { recursive: true, mode: 0o700 });
const server = await BridgeServer.start({ endpoint, open: async () => new EchoRoom() });
process.stdout.write(`${server.endpoint}\n`);
