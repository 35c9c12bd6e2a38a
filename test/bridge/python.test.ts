import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { PeerFailure, PythonPeer } from "./peers.ts";

const array = z.object({ shape: z.array(z.number()), hash: z.string(), data: z.unknown() });
const answer = z.object({
  step: z.number(),
  scalars: z.record(z.string(), z.union([z.number(), z.literal("NaN")])),
  commands: z.array(z.string()),
  rows: array.nullable(),
  indices: array.nullable(),
  targets: array.nullable(),
});

const hash = ({ buffer, byteOffset, byteLength }: Float32Array) =>
  createHash("sha256")
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest("hex");

async function failure(call: Promise<unknown>): Promise<PeerFailure> {
  try {
    await call;
  } catch (error) {
    if (error instanceof PeerFailure) return error;
    throw error;
  }
  assert.fail("the call succeeded");
}

/** Waits until something holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

for (const endpoint of ["auto", "tcp://127.0.0.1:*"]) {
  describe(`a Python rank on ${endpoint}`, function () {
    this.timeout(30_000);
    let peers: PythonPeer[] = [];
    let room: EchoRoom;
    let server: BridgeServer;

    before(async () => {
      peers = await Promise.all([PythonPeer.start(), PythonPeer.start()]);
    });

    beforeEach(async () => {
      room = new EchoRoom();
      server = await BridgeServer.start({ endpoint, open: async () => room, deadline: 10 });
    });

    afterEach(async () => {
      try {
        for (const peer of peers) await peer.call("close");
      } finally {
        await server.close();
      }
    });

    after(async () => {
      for (const peer of peers) await peer.kill();
    });

    const [zero, one] = [() => peers[0] ?? assert.fail(), () => peers[1] ?? assert.fail()];
    const step = async (peer: PythonPeer, args: object) => answer.parse(await peer.call("step", args));

    it("receives the welcome, sends torch rows, and gets target rows and scalars back", async () => {
      const welcome = await zero().join(server.endpoint);
      assert.deepEqual(z.object({ step: z.number(), config: z.string(), prototypes: array }).parse(welcome), {
        step: 0,
        config: '{"seed":0}',
        prototypes: {
          shape: [2, 2],
          hash: hash(new Float32Array(4).fill(1)),
          data: [
            [1, 1],
            [1, 1],
          ],
        },
      });
      const scalars = { loss: 1.5, steps: 3 };
      const got = await step(zero(), { step: 0, rows_: { n: 4, d: 2, seed: 1 }, epoch: 2, scalars });
      const rows = room.batches[0]?.rows ?? assert.fail();
      assert.deepEqual(got.targets?.shape, [4, 2]);
      assert.equal(got.targets?.hash, hash(rows.data));
      assert.deepEqual(got.scalars, { step: 0, momentum: 0.5 });
      assert.equal(room.batches[0]?.epoch, 2);
      assert.deepEqual(room.batches[0]?.scalars, [scalars]);
      for (let i = 0; i < 4; i++) {
        assert.ok(Math.abs(Math.hypot(rows.data[2 * i] ?? 0, rows.data[2 * i + 1] ?? 0) - 1) < 1e-6);
      }
    });

    it("carries big tensors both ways, whole", async () => {
      room = new EchoRoom(1024);
      const prototypes = Float32Array.from({ length: 1024 * 1024 }, (_, i) => (i % 977) / 977);
      room.onStep = async ({ rows }) => ({
        scalars: { lr: Number.NaN },
        commands: ["evaluate", "stop"],
        rows: { data: prototypes, d: 1024 },
        targets: { n: rows?.n ?? 0, k: 1024, data: rows?.data.slice() ?? assert.fail() },
      });
      await zero().join(server.endpoint);
      await zero().call("send", { step: 0, rows_: { n: 2000, d: 1024, seed: 3 } });
      const got = answer.parse(await zero().call("receive", { step: 0 }));
      assert.equal(got.rows?.hash, hash(prototypes));
      assert.equal(got.targets?.hash, hash(room.batches[0]?.rows?.data ?? assert.fail()));
      assert.deepEqual([got.scalars.lr, got.commands], ["NaN", ["evaluate", "stop"]]);
    });

    it("gets sparse targets and touched rows as dense rows and indices", async () => {
      room = new EchoRoom(16);
      const sparse = new Float32Array(3 * 16);
      sparse.set([0.25, 0, 0.75], 16);
      room.onStep = async () => ({
        scalars: {},
        commands: [],
        rows: { indices: Int32Array.of(2, 5), data: new Float32Array(32).fill(3), d: 16 },
        targets: { n: 3, k: 16, data: sparse },
      });
      await zero().join(server.endpoint);
      const got = await step(zero(), { step: 0, rows_: { n: 3, d: 16, seed: 0 } });
      assert.deepEqual([got.targets?.shape, got.targets?.hash], [[3, 16], hash(sparse)]);
      assert.deepEqual(got.indices?.data, [2, 5]);
      assert.deepEqual(got.rows?.shape, [2, 16]);
    });

    it("asks for the clock alone, reports results, saves a state and continues from it", async () => {
      room.commands = ["evaluate"];
      await zero().join(server.endpoint);
      assert.equal((await step(zero(), { step: 0 })).targets, null);
      assert.equal(room.batches[0]?.rows, undefined);
      const tensors = { correct: [[1, 0]] };
      await zero().call("result", {
        command: "evaluate",
        step: 1,
        scalars: { knn: 0.5 },
        text: { a: "b" },
        tensors,
      });
      const { step: steps, state } = z
        .object({ step: z.number(), state: z.record(z.string(), array) })
        .parse(await zero().call("state"));
      assert.deepEqual([steps, state.count?.data], [1, [3, 4]]);
      const data = Int32Array.of(1, 0);
      assert.deepEqual(room.results, [
        {
          rank: 0,
          command: "evaluate",
          step: 1,
          scalars: { knn: 0.5 },
          text: { a: "b" },
          tensors: { correct: { dtype: "int32", shape: [1, 2], data } },
        },
      ]);
      assert.deepEqual(await zero().call("load", { step: 9, state: { count: [5, 6] } }), { step: 9 });
      assert.deepEqual(room.saved, { count: { shape: [2], data: Float32Array.of(5, 6) } });
      assert.equal((await step(zero(), { step: 9, rows_: [[1, 2]] })).step, 9);
    });

    it("reads why a batch or a hello was refused, and continues", async () => {
      await zero().join(server.endpoint);
      const bad = await failure(zero().call("step", { step: 0, rows_: [[1, 2], [0, 0]] })); // biome-ignore format: rows
      assert.deepEqual([bad.kind, bad.code, bad.row], ["BatchError", "row", 1]);
      assert.match(bad.message, /run "test", rank 0, step 0: .* row 1 .* all zero/);
      const late = await failure(zero().call("step", { step: 5, rows_: [[1, 2]] }));
      assert.equal(late.code, "order");
      assert.equal(room.batches.length, 0);
      const other = await failure(one().join(server.endpoint));
      assert.deepEqual([other.kind, other.code], ["Rejected", "busy"]);
      assert.equal((await step(zero(), { step: 0, rows_: [[1, 2]] })).step, 0);
    });

    it("is merged with another rank in rank order", async () => {
      await Promise.all([
        zero().join(server.endpoint, { rank: 0, world: 2 }),
        one().join(server.endpoint, { rank: 1, world: 2 }),
      ]);
      const [first, second] = await Promise.all([
        step(zero(), { step: 0, rows_: [[1, 2]] }),
        step(one(), { step: 0, rows_: [[3, 4], [5, 6]] }), // biome-ignore format: rows
      ]);
      assert.deepEqual(room.batches[0]?.rows?.data, Float32Array.of(1, 2, 3, 4, 5, 6));
      assert.deepEqual(first.targets?.data, [[1, 2]]);
      assert.deepEqual(second.targets?.data, [[3, 4], [5, 6]]); // biome-ignore format: rows
    });

    it("is noticed at once when it is killed, and the other ranks of its world are told", async () => {
      const victim = await PythonPeer.start();
      await Promise.all([
        zero().join(server.endpoint, { rank: 0, world: 2, deadline: 20 }),
        victim.join(server.endpoint, { rank: 1, world: 2 }),
      ]);
      await zero().call("send", { step: 0, rows_: [[1, 2]] });
      const waiting = failure(zero().call("receive", { step: 0 }));
      const killed = performance.now();
      await victim.kill();
      await until(() => room.gone.length > 0);
      assert.match(room.gone[0] ?? "", /^rank 1 lost: its process ended/);
      const told = await waiting;
      assert.deepEqual([told.kind, told.code], ["BatchError", "peer"]);
      assert.match(told.message, /rank 1: its process ended/);
      // Far below the heartbeats' 6 s and the deadlines' 10 and 20 s: it was the broken connection that told.
      assert.ok(performance.now() - killed < 1000, `${performance.now() - killed} ms`);
    });

    it("says goodbye with its reason", async () => {
      await zero().join(server.endpoint);
      await zero().call("close", { reason: "enough" });
      await until(() => room.gone.length > 0);
      assert.deepEqual(room.gone, ["rank 0 left: enough"]);
    });

    it("distinguishes a busy plugin from one that hangs, at the deadline", async () => {
      room.onStep = () => new Promise(() => {});
      await zero().join(server.endpoint, { deadline: 0.5 });
      const silent = await failure(zero().call("step", { step: 0, rows_: [[1, 2]] }));
      assert.equal(silent.kind, "DeadlinePassed");
      assert.match(
        silent.message,
        /run "test", rank 0: waited for targets of step 0 .* no sign of life for 0.5 s/,
      );
    });

    it("waits past its deadline for other ranks while the plugin is alive", async () => {
      await Promise.all([
        zero().join(server.endpoint, { rank: 0, world: 2, deadline: 0.5 }),
        one().join(server.endpoint, { rank: 1, world: 2 }),
      ]);
      const waiting = step(zero(), { step: 0, rows_: [[1, 2]] });
      await new Promise((resolve) => setTimeout(resolve, 1200));
      await one().call("step", { step: 0, rows_: [[3, 4]] });
      assert.equal((await waiting).step, 0);
    });

    it("receives a plugin's goodbye", async () => {
      await zero().join(server.endpoint);
      await zero().call("send", { step: 0, rows_: [[1, 2]] });
      await zero().call("receive", { step: 0 });
      await server.close("enough");
      const gone = await failure(zero().call("receive", { step: 1 }));
      assert.equal(gone.kind, "PeerLost");
      assert.match(gone.message, /it left: enough/);
    });

    it("notices a plugin that is killed at once, waiting or not, and joins one that starts later", async () => {
      const place = server.endpoint;
      await server.close();
      const joining = zero().join(place, { deadline: 20 });
      const plugin = spawn(
        process.execPath,
        ["--import", "./register.mjs", fileURLToPath(new URL("echo-server.ts", import.meta.url)), place],
        {
          stdio: ["ignore", "pipe", "inherit"],
        },
      );
      await joining;
      await zero().call("step", { step: 0, rows_: [[1, 2]] });
      const waiting = failure(zero().call("receive", { step: 1 }));
      const exit = once(plugin, "exit");
      plugin.kill("SIGKILL");
      await exit;
      const lost = await waiting;
      assert.equal(lost.kind, "PeerLost");
      assert.match(lost.message, /targets of step 1 .* its process ended/);
      const later = await failure(zero().call("send", { step: 1, rows_: [[1, 2]] }));
      assert.equal(later.kind, "PeerLost");
      if (endpoint === "auto") await rm(dirname(place.replace("ipc://", "")), { recursive: true });
    });
  });
}
