import assert from "node:assert/strict";
import { once } from "node:events";
import { statSync, watch } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { curveKeyPair } from "zeromq";
import { z } from "zod";
import { BridgeServer } from "../../src/bridge/server.ts";
import { listKeys, makeKey, openKeys, revokeKey } from "../../src/serve/keys.ts";
import { EchoRoom } from "./echo-room.ts";
import { PeerFailure, PythonPeer } from "./peers.ts";

describe("a server with keys", () => {
  const [serverKeys, friend, stranger] = [curveKeyPair(), curveKeyPair(), curveKeyPair()];
  const security = { serverKeys, allowedClients: [friend.publicKey] };
  let server: BridgeServer;
  let peer: PythonPeer;

  before(async () => {
    server = await BridgeServer.start({
      endpoint: "tcp://0.0.0.0:*",
      open: async () => new EchoRoom(),
      security,
    });
    peer = await PythonPeer.start();
  });

  after(async () => {
    await peer.kill();
    await server.close();
  });

  const keys = (own: typeof friend, server = serverKeys.publicKey) => ({
    server,
    public: own.publicKey,
    secret: own.secretKey,
  });

  async function join(options: object, endpoint = server.endpoint): Promise<unknown> {
    try {
      await peer.join(endpoint.replace("0.0.0.0", "127.0.0.1"), options);
      return peer.call("step", { step: 0, rows_: [[1, 2]] });
    } catch (error) {
      if (error instanceof PeerFailure) return error.kind;
      throw error;
    } finally {
      await peer.call("close");
    }
  }

  it("admits a client on its list, and refuses one with no keys, with other keys, or with a wrong key of the server", async () => {
    const refused = async (options: object) => {
      const began = performance.now();
      assert.equal(await join(options), "Rejected");
      assert.ok(performance.now() - began < 5000);
    };
    await refused({ keys: keys(stranger) });
    await refused({});
    await refused({ keys: keys(friend, stranger.publicKey) });
    assert.equal((await join({ keys: keys(friend) })) instanceof Object, true);
  });

  it("refuses a revoked key without a restart, and everybody if the list cannot be read", async () => {
    const folder = await mkdtemp(joinPath(tmpdir(), "mixhead-test-"));
    const open = async (name: string) => {
      const text = await readFile(await makeKey(folder, name), "utf8");
      return z
        .strictObject({ server: z.string(), public: z.string(), secret: z.string() })
        .parse(JSON.parse(text));
    };
    const [one, two] = [await open("one"), await open("two")];
    const own = await BridgeServer.start({
      endpoint: "tcp://127.0.0.1:*",
      open: async () => new EchoRoom(),
      security: await openKeys(folder),
    });
    try {
      const options = (keys: object) => ({ keys, run: `${Math.random()}` });
      assert.ok((await join(options(one), own.endpoint)) instanceof Object);
      assert.deepEqual(
        (await listKeys(folder)).map(({ name }) => name),
        ["one", "two"],
      );
      await revokeKey(folder, "one");
      assert.equal(await join(options(one), own.endpoint), "Rejected");
      assert.ok((await join(options(two), own.endpoint)) instanceof Object);
      assert.deepEqual((await readdir(folder)).sort(), ["server.json", "two.json"]);
      await assert.rejects(revokeKey(folder, "one"), /has no key "one"; it has: two/);
      await writeFile(joinPath(folder, "server.json"), "{");
      const warned = once(process, "warning");
      assert.equal(await join(options(two), own.endpoint), "Rejected");
      assert.match(String((await warned)[0]), /no client is admitted: .*does not hold valid keys/);
    } finally {
      await own.close();
      await rm(folder, { recursive: true });
    }
  });

  it("writes keys readable by this user only from the first moment on, even in a folder that others can enter", async () => {
    const folder = await mkdtemp(joinPath(tmpdir(), "mixhead-test-"));
    await chmod(folder, 0o777);
    const seen = new Set<number>();
    const watcher = watch(folder, (_, file) => {
      const mode = statSync(joinPath(folder, file ?? ""), { throwIfNoEntry: false })?.mode;
      if (mode !== undefined && file) seen.add(mode & 0o777);
    });
    for (let i = 0; i < 20; i++) await makeKey(folder, `key-${i}`);
    watcher.close();
    assert.deepEqual([...seen], [0o600]);
    for (const bad of ["../out", "", "server", "a/b", "x".repeat(61), "\u001b[2J"])
      await assert.rejects(makeKey(folder, bad), /is not a valid key name/);
    await rm(folder, { recursive: true });
  });

  it("refuses to start with an invalid key", async () => {
    for (const bad of ["", "short", "~".repeat(40), "#".repeat(40)]) {
      const start = BridgeServer.start({
        endpoint: "tcp://127.0.0.1:*",
        open: async () => new EchoRoom(),
        security: { serverKeys, allowedClients: [bad] },
      });
      await assert.rejects(start, { name: "UserError", message: /40 characters of Z85/ });
    }
  });
});
