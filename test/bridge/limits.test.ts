import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { encode as pack } from "@msgpack/msgpack";
import { hasMoreEntries } from "../../src/bridge/entries.ts";
import { LIMITS } from "../../src/bridge/limits.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { RawRank } from "./raw-rank.ts";

describe("the limits of what a message brings", () => {
  const rooms = new Map<string, EchoRoom>();
  let server: BridgeServer;
  let ranks: RawRank[];

  beforeEach(async () => {
    ranks = [];
    rooms.clear();
    server = await BridgeServer.start({
      deadline: 0.3,
      open: async ({ run }) => {
        const room = new EchoRoom();
        rooms.set(run, room);
        return room;
      },
    });
  });

  afterEach(async () => {
    for (const rank of ranks) rank.close();
    await server.close();
  });

  function rank(generation: string, holds?: number): RawRank {
    const made = new RawRank(server.endpoint, generation, holds);
    ranks.push(made);
    return made;
  }

  async function joined(run: string, more: Parameters<RawRank["hello"]>[0] = {}, holds?: number) {
    const made = rank(run, holds);
    await made.hello({ run, ...more });
    assert.equal((await made.receive()).header.type, "welcome");
    return made;
  }

  /** What a stranger's message is refused with. */
  async function refusal(send: (from: RawRank) => Promise<void>) {
    const from = rank("stranger");
    await send(from);
    const { header } = await from.receive();
    from.close();
    return header.type === "reject" ? header : assert.fail(`a ${header.type} came`);
  }

  it("refuses a world of too many ranks, and outlives the deadline of the largest", async () => {
    for (const world of [LIMITS.world + 1, 2 ** 40]) {
      const { code, message } = await refusal((from) => from.hello({ world }));
      assert.equal(code, "shape");
      assert.match(message, /at world/);
    }
    const one = await joined("wide", { world: LIMITS.world });
    await one.embeddings(0, [[1, 2]]);
    const { header } = await one.receive();
    assert.ok(header.type === "error" && header.code === "peer");
    assert.match(header.message, /^rank 1, 2, .* and 4087 others: .* never joined$/);
    await joined("next");
  });

  it("refuses a header of many entries in a short sentence, without reading them all", async () => {
    const ping = { type: "ping", generation: "g" };
    const maps = (n: number) => Array.from({ length: n }, () => ({}));
    const nested = Array.from({ length: 200 }, () => Array.from({ length: 200 }, () => 0));
    const bad: [object, RegExp][] = [
      [{ ...ping, tensors: maps(20_000) }, /at most 16384 entries/],
      [{ ...ping, tensors: nested }, /at most 16384 entries/],
      [{ ...ping, tensors: maps(2000) }, /at most 1024 tensors, not 2000/],
      [{ ...ping, tensors: maps(500) }, /not a valid message at name/],
      [{ ...ping, tensors: [], ["x".repeat(50_000)]: 1 }, /not a valid message/],
      [{ type: "ping", generation: "g".repeat(5000), tensors: [] }, /at generation/],
      [{ type: "x".repeat(50_000) }, /not a valid message at type/],
    ];
    for (const [header, why] of bad) {
      const { message } = await refusal((from) => from.sendFrames([pack(header)]));
      assert.match(message, why);
      assert.ok(message.length <= LIMITS.sentence + 3, message);
    }
    const large = await refusal((from) => from.sendFrames([new Uint8Array(LIMITS.strangersHeaderBytes + 1)]));
    assert.match(large.message, /1 to 65536 bytes, not 65537/);
    const shape = Array.from({ length: 9 }, () => 1);
    const wide = { ...ping, tensors: [{ name: "t", dtype: "uint8", shape, frames: 1 }] };
    assert.match((await refusal((from) => from.sendFrames([pack(wide)]))).message, /up to 8 whole numbers/);
  });

  it("counts every kind of value", () => {
    const values = [
      [0, -1, 200, -200, 70_000, -70_000, 2 ** 40, -(2 ** 40), 0.5, true, null, "", "short", "x".repeat(40)],
      ["x".repeat(300), "x".repeat(70_000), new Uint8Array(3), new Uint8Array(300), new Uint8Array(70_000)],
      [new Date(0), new Date(1e15), {}, [], { a: 1 }, { b: [{ c: 2 }] }],
      [Array.from({ length: 20 }, () => 7), Object.fromEntries(Array.from({ length: 20 }, (_, i) => [i, i]))],
    ].flat();
    const entries = 1 + values.length + 2 + 5 + 20 + 40;
    assert.equal(hasMoreEntries(pack(values), entries - 1), true);
    assert.equal(hasMoreEntries(pack(values), entries), false);
  });

  it("refuses a mixture that is too large, before it is opened", async () => {
    const { code, message } = await refusal((from) => from.hello({ components: 1e6, dim: 1024 }));
    assert.equal(code, "shape");
    assert.match(message, /1000000 prototypes of dimension 1024 are too many: K x D is at most 134217728/);
    assert.equal((await refusal((from) => from.hello({ rank: 3, world: 2 }))).code, "rank");
    assert.equal(rooms.size, 0);
  });

  it("holds at most the allowed number of mixtures", async () => {
    for (let i = 0; i < LIMITS.mixtures; i++) await joined(`run ${i}`);
    const { code, message } = await refusal((from) => from.hello({ run: "one more" }));
    assert.equal(code, "busy");
    assert.match(message, /256 mixtures are held here/);
  });

  it("drops a rank that does not read its answers, and no other", async function () {
    this.timeout(30_000); // it hung for a minute while the server did not notice what it had received
    const reader = await joined("reader");
    const one = await joined("deaf", {}, 1);
    const room = rooms.get("deaf");
    assert.ok(room);
    room.saved = { large: { shape: [2 ** 20], data: new Float32Array(2 ** 20) } };
    while (room.gone.length === 0) {
      for (let i = 0; i < LIMITS.requests; i++)
        await one.send({ type: "state", generation: "deaf", step: 0 });
      await sleep(5);
    }
    assert.match(room.gone[0] ?? "", /^rank 0 lost: .*it does not read what it is sent: \d+ messages/);
    await reader.embeddings(0, [[1, 2]]);
    assert.equal((await reader.receive()).header.type, "targets");
  });

  it("accepts at most the allowed number of requests at a time, and answers them", async () => {
    const one = await joined("eager");
    const room = rooms.get("eager");
    assert.ok(room);
    let finish = () => {};
    room.onResult = () => new Promise((resolve) => (finish = resolve));
    room.commands = ["evaluate"];
    const { generation } = one;
    await one.embeddings(0, [[1, 2]]);
    assert.equal((await one.receive()).header.type, "targets");
    await one.send({ type: "result", generation, command: "evaluate", step: 1, scalars: {}, text: {} });
    for (let i = 1; i <= LIMITS.requests; i++) await one.send({ type: "state", generation, step: 0 });
    const { header } = await one.receive();
    assert.ok(header.type === "error" && header.code === "order");
    finish();
    for (let i = 1; i < LIMITS.requests; i++) assert.equal((await one.receive()).header.type, "state");
  });
});
