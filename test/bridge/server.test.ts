import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { BatchError, RejectError } from "../../src/bridge/errors.ts";
import type { Room } from "../../src/bridge/room.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { RawRank } from "./raw-rank.ts";

const bytes = (frames: Uint8Array[]) => frames.map((frame) => Buffer.from(frame).toString("hex"));

for (const endpoint of ["auto", "tcp://127.0.0.1:*"]) {
  describe(`the bridge's server on ${endpoint}`, () => {
    let server: BridgeServer;
    let room: EchoRoom;
    let ranks: RawRank[];

    beforeEach(async () => {
      room = new EchoRoom();
      ranks = [];
      await serve(10);
    });

    async function serve(deadline: number): Promise<void> {
      await server?.close();
      server = await BridgeServer.start({ endpoint, open: async () => room, deadline });
    }

    afterEach(async () => {
      for (const rank of ranks) rank.close();
      await server.close();
    });

    function rank(generation = "one"): RawRank {
      const made = new RawRank(server.endpoint, generation);
      ranks.push(made);
      return made;
    }

    async function joined(generation = "one", more: Parameters<RawRank["hello"]>[0] = {}): Promise<RawRank> {
      const made = rank(generation);
      await made.hello(more);
      assert.equal((await made.receive()).header.type, "welcome");
      return made;
    }

    async function twoRanks(): Promise<[RawRank, RawRank]> {
      return [await joined("a", { rank: 0, world: 2 }), await joined("b", { rank: 1, world: 2 })];
    }

    /** The error that comes next: code, row and sentence. */
    async function error(from: RawRank) {
      const { header } = await from.receive();
      assert.equal(header.type, "error");
      return header.type === "error" ? header : assert.fail();
    }

    async function rejection(from: RawRank) {
      const { header } = await from.receive();
      return header.type === "reject" ? header : assert.fail(`a ${header.type} came`);
    }

    it("answers a repeated request with the same bytes, and takes the step once", async () => {
      const one = await joined();
      await one.embeddings(0, [[1, 2]]);
      const first = bytes(await one.frames());
      await one.embeddings(0, [[3, 4]]);
      assert.deepEqual(bytes(await one.frames()), first);
      assert.equal(room.batches.length, 1);
    });

    it("answers a repeated hello with the same welcome", async () => {
      const one = rank();
      await one.hello();
      const first = bytes(await one.frames());
      await one.hello();
      assert.deepEqual(bytes(await one.frames()), first);
    });

    it("drops what comes from a stale generation", async () => {
      const one = await joined("new");
      await one.embeddings(0, [[9, 9]], { generation: "old" });
      await one.embeddings(0, [[1, 2]]);
      assert.deepEqual((await one.receive()).tensors.targets?.data, Float32Array.of(1, 2));
      assert.equal(room.batches.length, 1);
    });

    it("refuses a bad batch with a code, changes nothing, and takes a good one afterwards", async () => {
      const one = await joined();
      const { generation } = one;
      const header = {
        type: "embeddings",
        generation,
        step: 0,
        epoch: 0,
        scalars: {},
        announced: 0,
      } as const;
      await one.embeddings(1, [[1, 2]]);
      assert.equal((await error(one)).code, "order");
      await one.embeddings(0, [[1, 2, 3]]);
      assert.equal((await error(one)).code, "shape");
      await one.send(header, { h: { dtype: "int32", shape: [1, 2], data: Int32Array.of(1, 2) } });
      assert.equal((await error(one)).code, "dtype");
      await one.send(header, { g: { dtype: "float32", shape: [1, 2], data: Float32Array.of(1, 2) } });
      assert.equal((await error(one)).code, "shape");
      for (const bad of [NaN, Infinity]) {
        await one.embeddings(0, [
          [1, 2],
          [1, bad],
        ]);
        const { code, row, step } = await error(one);
        assert.deepEqual({ code, row, step }, { code: "row", row: 1, step: 0 });
      }
      await one.embeddings(0, [[0, 0]]);
      assert.equal((await error(one)).row, 0);
      assert.equal(room.batches.length, 0);
      await one.embeddings(0, [[1, 2]]);
      assert.equal((await one.receive()).header.type, "targets");
    });

    it("answers bytes that are no message to a rank as an error, to a stranger as a rejection", async () => {
      const stranger = rank();
      await stranger.sendFrames([Uint8Array.of(0xc1)]);
      assert.equal((await rejection(stranger)).code, "version");
      await stranger.hello({ version: 1 });
      assert.match((await rejection(stranger)).message, /version 1 .* this side versions 2 to 3/);
      const one = await joined("known");
      await one.sendFrames([Uint8Array.of(0xc1)]);
      assert.equal((await error(one)).code, "shape");
    });

    it("refuses a rank whose number, world, K, D or start does not fit", async () => {
      const codes = async (more: Parameters<RawRank["hello"]>[0]) => {
        const one = rank(JSON.stringify(more));
        await one.hello(more);
        return (await rejection(one)).code;
      };
      await joined("zero", { world: 2, start: "same" });
      assert.equal(await codes({ rank: 2, world: 2 }), "rank");
      assert.equal(await codes({ rank: 1, world: 3 }), "rank");
      assert.equal(await codes({ rank: 1, world: 2, components: 7 }), "shape");
      assert.equal(await codes({ rank: 1, world: 2, dim: 7 }), "shape");
      assert.equal(await codes({ rank: 1, world: 2, start: "other" }), "state");
      assert.equal(await codes({ rank: 0, world: 2 }), "busy");
      await joined("fits", { rank: 1, world: 2, components: 2, dim: 2, start: "same" });
    });

    it("rejects a hello with what opening its room or the room's welcome throws", async () => {
      room.onWelcome = () => {
        throw new RejectError("state", "not from here");
      };
      const one = rank();
      await one.hello();
      assert.deepEqual((await rejection(one)).code, "state");
      room.onWelcome = undefined;
      await one.hello();
      assert.equal((await one.receive()).header.type, "welcome");
      const closed = await BridgeServer.start({ open: async () => Promise.reject(new Error("no such run")) });
      const two = new RawRank(closed.endpoint, "two");
      await two.hello();
      const { code, message } = await rejection(two);
      assert.deepEqual({ code, message }, { code: "unknown", message: "no such run" });
      two.close();
      await closed.close();
    });

    it("merges the ranks' rows in rank order and gives each its own target rows", async () => {
      const [zero, one] = await twoRanks();
      await one.embeddings(0, [[5, 6]], { scalars: { loss: 1 } });
      await zero.embeddings(
        0,
        [
          [1, 2],
          [3, 4],
        ],
        { scalars: { loss: 0 } },
      );
      assert.deepEqual((await one.receive()).tensors.targets?.data, Float32Array.of(5, 6));
      assert.deepEqual((await zero.receive()).tensors.targets?.data, Float32Array.of(1, 2, 3, 4));
      assert.deepEqual(room.batches[0]?.rows, { data: Float32Array.of(1, 2, 3, 4, 5, 6), n: 3, d: 2 });
      assert.deepEqual(room.batches[0]?.scalars, [{ loss: 0 }, { loss: 1 }]);
    });

    it("blames the rank whose row is bad and tells the others; all of them may send the step again", async () => {
      const [zero, one] = await twoRanks();
      await zero.embeddings(0, [[1, 2]]);
      await one.embeddings(0, [
        [3, 4],
        [NaN, 4],
      ]);
      assert.deepEqual((await error(one)).row, 1);
      const told = await error(zero);
      assert.deepEqual([told.code, told.row], ["row", -1]);
      assert.match(told.message, /rank 1: row 1 .* not finite/);
      room.onStep = async () => {
        throw new BatchError("row", "a strange row", 2);
      };
      for (const each of [zero, one]) {
        await each.embeddings(0, [
          [1, 2],
          [3, 4],
        ]);
      }
      const { code, row } = await error(one);
      assert.deepEqual({ code, row }, { code: "row", row: 0 });
      assert.deepEqual((await error(zero)).row, -1);
      room.onStep = undefined;
      await zero.embeddings(0, [[1, 2]]);
      await one.embeddings(0, [[3, 4]]);
      assert.equal((await zero.receive()).header.type, "targets");
      assert.equal((await one.receive()).header.type, "targets");
    });

    it("answers whatever the room throws with code plugin, and stays alive", async () => {
      const one = await joined();
      room.onStep = async () => {
        throw new Error("the plugin broke");
      };
      await one.embeddings(0, [[1, 2]]);
      const { code, message } = await error(one);
      assert.deepEqual({ code, message }, { code: "plugin", message: "the plugin broke" });
      room.onStep = async () => ({
        scalars: {},
        commands: [],
        targets: { n: 7, k: 2, data: new Float32Array(14) },
      });
      await one.embeddings(0, [[1, 2]]);
      assert.match((await error(one)).message, /7 x 2 targets .* to 1 rows/);
      room.onStep = undefined;
      await one.embeddings(0, [[1, 2]]);
      assert.equal((await one.receive()).header.type, "targets");
    });

    it("tells the others which rank sent nothing within the deadline, or said goodbye", async () => {
      await serve(0.3);
      const [zero, one] = await twoRanks();
      await zero.embeddings(0, [[1, 2]]);
      const late = await error(zero);
      assert.equal(late.code, "peer");
      assert.match(late.message, /rank 1: nothing came for step 0 within 0.3 s/);
      assert.equal((await error(one)).code, "peer");
      assert.match(room.gone[0] ?? "", /^rank 1 lost/);
      await one.send({ type: "bye", generation: "b", reason: "out of memory" });
      await zero.embeddings(0, [[1, 2]]);
      assert.equal((await error(zero)).code, "peer");
      assert.equal(room.gone[1], "rank 1 left: out of memory");
    });

    it("does not count the time in which a rank carries out a command", async () => {
      await serve(0.3);
      room.onStep = async ({ rows }) => ({
        scalars: {},
        commands: ["evaluate"],
        targets: { n: rows?.n ?? 0, k: 2, data: new Float32Array(4).fill(1) },
      });
      const [zero, one] = await twoRanks();
      const result = { type: "result", command: "evaluate", step: 1, scalars: {}, text: {} } as const;
      for (const each of [zero, one]) await each.embeddings(0, [[1, 2]]);
      for (const each of [zero, one]) await each.receive();
      await zero.send({ ...result, generation: "a" });
      await zero.embeddings(1, [[1, 2]]);
      await new Promise((resolve) => setTimeout(resolve, 700));
      await one.send({ ...result, generation: "b" });
      await one.embeddings(1, [[1, 2]]);
      assert.equal((await zero.receive()).header.type, "targets");
      assert.deepEqual(
        room.results.map((each) => each.rank),
        [0, 1],
      );
    });

    it("survives a room that throws when a rank has left or was lost", async () => {
      room.left = () => {
        throw new Error("unprepared");
      };
      const warned = once(process, "warning");
      const one = await joined();
      await one.send({ type: "bye", generation: "one", reason: "" });
      assert.match(String((await warned)[0]), /unprepared/);
      await joined("two");
    });

    it("admits a new world when every rank of the broken one has left", async () => {
      const [zero, one] = await twoRanks();
      await one.embeddings(0, [[1, 2]]);
      one.close();
      assert.equal((await error(zero)).code, "peer");
      const again = rank("c");
      await again.hello({ rank: 1, world: 2 });
      assert.equal((await rejection(again)).code, "busy");
      await zero.send({ type: "bye", generation: "a", reason: "" });
      await again.hello({ rank: 0, world: 1 });
      assert.equal((await again.receive()).header.type, "welcome");
    });

    it("refuses a step and a load, and gives an empty state, for a room without these parts", async () => {
      const { components, dim } = room;
      const welcome = () => ({ step: 0, config: "{}", commands: [] });
      const minimal: Room = { components, dim, welcome, lost: () => {}, left: () => {} };
      await server.close();
      server = await BridgeServer.start({ endpoint, open: async () => minimal, deadline: 10 });
      const one = await joined();
      const { generation } = one;
      await one.embeddings(0, [[1, 2]]);
      assert.match((await error(one)).message, /takes no steps/);
      await one.send({ type: "load", generation, step: 1 });
      assert.match((await rejection(one)).message, /cannot load a state/);
      await one.send({ type: "state", generation, step: 0 });
      assert.deepEqual((await one.receive()).tensors, {});
    });

    it("gives the state, continues from a loaded one, and rejects one that is not float32", async () => {
      const one = await joined();
      const { generation } = one;
      await one.send({ type: "state", generation, step: 0 });
      const { header, tensors } = await one.receive();
      assert.equal(header.type, "state");
      assert.deepEqual(tensors.count?.data, Float32Array.of(3, 4));
      const load = { type: "load", generation, step: 7 } as const;
      await one.send(load, { count: { dtype: "int32", shape: [1], data: Int32Array.of(1) } });
      assert.equal((await rejection(one)).code, "state");
      await one.send(load, { count: { dtype: "float32", shape: [1], data: Float32Array.of(8) } });
      const welcome = await one.receive();
      assert.equal(welcome.header.type === "welcome" && welcome.header.step, 7);
      assert.deepEqual(room.saved.count?.data, Float32Array.of(8));
      await one.embeddings(7, [[1, 2]]);
      assert.equal((await one.receive()).header.type, "targets");
    });

    it("answers a ping while other ranks are waited for, and not while the plugin is at work", async () => {
      let finish = () => {};
      room.onStep = () =>
        new Promise((resolve) => {
          finish = () => resolve({ scalars: {}, commands: [] });
        });
      const [zero, one] = await twoRanks();
      await zero.embeddings(0, [[1, 2]]);
      await zero.send({ type: "ping", generation: "a" });
      assert.equal((await zero.receive()).header.type, "pong");
      await one.embeddings(0, [[1, 2]]);
      await zero.send({ type: "ping", generation: "a" });
      await new Promise((resolve) => setTimeout(resolve, 50));
      finish();
      assert.equal((await zero.receive()).header.type, "targets");
    });

    it("answers a ping while it still takes what a command gave", async () => {
      let finish = () => {};
      room.onResult = () =>
        new Promise((resolve) => {
          finish = resolve;
        });
      room.firstCommands = ["evaluate"];
      const one = await joined();
      const { generation } = one;
      const result = { type: "result", generation, command: "evaluate", step: 0 } as const;
      await one.send({ ...result, scalars: {}, text: {} });
      await one.embeddings(0, [[1, 2]]);
      await one.send({ type: "ping", generation });
      assert.equal((await one.receive()).header.type, "pong");
      finish();
      assert.equal((await one.receive()).header.type, "targets");
    });

    it("says goodbye to every rank when it closes or drops a room", async () => {
      const one = await joined();
      void server.drop("test", "default", "enough");
      const { header } = await one.receive();
      assert.equal(header.type === "bye" && header.reason, "enough");
      const two = await joined("two");
      await server.close("the end");
      const last = await two.receive();
      assert.equal(last.header.type === "bye" && last.header.reason, "the end");
    });
  });
}

describe("the bridge's endpoint", () => {
  const open = async () => new EchoRoom();

  it("is a socket in a folder that only this user can enter, and is removed after close", async () => {
    const server = await BridgeServer.start({ open });
    const folder = dirname(server.endpoint.replace("ipc://", ""));
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    await server.close();
    await server.close();
    assert.equal(existsSync(folder), false);
  });

  it("sweeps the folders of killed servers, but none with a listening or starting server", async () => {
    const before = process.env.TMPDIR;
    const base = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    process.env.TMPDIR = base;
    try {
      const alive = await BridgeServer.start({ open });
      const [dead, young] = [await mkdtemp(join(base, "mixhead-")), await mkdtemp(join(base, "mixhead-"))];
      const killed = `require("node:net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))`;
      for (const each of [dead, young]) spawnSync(process.execPath, ["-e", killed, join(each, "bridge")]);
      const old = Date.now() / 1000 - 120;
      await utimes(join(dead, "bridge"), old, old);
      const other = await mkdtemp(join(base, "mixhead-"));
      await writeFile(join(other, "bridge"), "no socket");
      assert.equal(existsSync(join(dead, "bridge")), true);
      const next = await BridgeServer.start({ open });
      assert.deepEqual(
        [dead, young, other, dirname(alive.endpoint.replace("ipc://", ""))].map((each) => existsSync(each)),
        [false, true, true, true],
      );
      await alive.close();
      await next.close();
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
      await rm(base, { recursive: true });
    }
  });

  it("is refused in one sentence if it is taken, too long, open to the network, or nonsense", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    const endpoint = `ipc://${join(folder, "socket")}`;
    const server = await BridgeServer.start({ open, endpoint });
    const refused = async (endpoint: string, why: RegExp) =>
      assert.rejects(BridgeServer.start({ open, endpoint }), { name: "UserError", message: why });
    await refused(endpoint, /in use/);
    await refused(`ipc:///${"long/".repeat(30)}`, /at most 107 bytes/);
    await refused("ipc://@abstract", /path/);
    await refused(`ipc://${join(folder, "missing", "socket")}`, /cannot listen/);
    await refused("tcp://0.0.0.0:7000", /CURVE/);
    await refused("tcp://*:7000", /CURVE/);
    await refused("udp://here", /"udp:\/\/here" is invalid; allowed: auto/);
    await server.close();
    await rm(folder, { recursive: true });
  });
});
