import assert from "node:assert/strict";
import { curveKeyPair } from "zeromq";
import { BridgeServer } from "../../src/bridge/server.ts";
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

  async function join(options: object): Promise<unknown> {
    try {
      await peer.join(server.endpoint.replace("0.0.0.0", "127.0.0.1"), options);
      return peer.call("step", { step: 0, rows_: [[1, 2]] });
    } catch (error) {
      if (error instanceof PeerFailure) return error.kind;
      throw error;
    } finally {
      await peer.call("close");
    }
  }

  it("lets in a client on its list, and nobody without keys, with others, or with a wrong idea of the server's", async () => {
    const deadline = 0.5;
    assert.equal(await join({ deadline, keys: keys(stranger) }), "DeadlinePassed");
    assert.equal(await join({ deadline }), "DeadlinePassed");
    assert.equal(await join({ deadline, keys: keys(friend, stranger.publicKey) }), "DeadlinePassed");
    assert.equal((await join({ keys: keys(friend) })) instanceof Object, true);
  });

  it("refuses to start with something that is no key", async () => {
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
