import assert from "node:assert/strict";
import { z } from "zod";
import { type Definition, hashOf, NONE, textOf } from "../../src/backend/torch/program.ts";
import type { Tensor } from "../../src/bridge/codec.ts";
import type { Run } from "../../src/bridge/executor-run.ts";
import type { Answer, Batch, RunFailure, Welcome } from "../../src/bridge/room.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { PythonPeer } from "./peers.ts";

const [N, K, D] = [4, 3, 2];

/** New prototypes: the old ones plus a literal. Targets: zeros. Metrics: the literal twice. */
const STEP: Definition = {
  inputs: [
    ["float32", [N, D]],
    ["float32", [K, D]],
  ],
  literals: [
    ["float32", []],
    ["float32", [2]],
    ["float32", [N, K]],
  ],
  code: [
    ["Add", [1, 2], {}, [["float32", [K, D]]]],
    ["Add", [3, 2], {}, [["float32", [2]]]],
  ],
  outputs: [5, 6, 4],
};

const array = z.object({ shape: z.array(z.number()), data: z.unknown() });
const answer = z.object({ prototypes: array.nullable(), targets: array.nullable() });

/** Takes a step on the rank's device, and reads the new prototypes before the next one. */
class DeviceRoom extends EchoRoom {
  readonly failures: RunFailure[] = [];
  readonly read: Tensor[][] = [];
  send: (run: Run) => void = () => {};
  private prototypes = 1;
  handle = 10;
  private seq = 0;

  attach(send: (run: Run) => void): void {
    this.send = send;
  }

  values(_seq: number, tensors: Tensor[]): void {
    this.read.push(tensors);
  }

  failed(_rank: number, failure: RunFailure): undefined {
    this.failures.push(failure);
  }

  run(more: Partial<Run>): Run {
    this.seq += 1;
    const nothing = { program: "", inputs: [], base: 0, free: [], reads: [], literals: [], forget: false };
    const unnamed = { rows: NONE, metrics: NONE, prototypes: NONE, targets: NONE, uploads: new Map() };
    return { seq: this.seq, ...nothing, ...unnamed, ...more };
  }

  override async welcome(): Promise<Welcome> {
    const data = new Float32Array(K * D);
    const uploads: Run["uploads"] = new Map([[1, { dtype: "float32", shape: [K, D], data }]]);
    return { step: 0, config: "{}", commands: [], run: this.run({ uploads, prototypes: 1 }) };
  }

  override async step(batch: Batch): Promise<Answer> {
    this.batches.push(batch);
    const [rows, base] = [this.handle, this.handle + 1];
    this.handle += 10;
    const text = textOf(STEP);
    const run = this.run({
      program: hashOf(text),
      inputs: [rows, this.prototypes],
      base,
      rows,
      prototypes: base,
      metrics: base + 1,
      targets: base + 2,
      free: [rows, this.prototypes, base + 1, base + 2],
      literals: [0.1 + batch.step, 1, 2, ...Array.from({ length: N * K }, () => 0)],
      ...(batch.step === 0 && { definition: new TextEncoder().encode(text) }),
    });
    this.prototypes = base;
    return { scalars: {}, commands: [], run };
  }

  readPrototypes(): void {
    this.send(this.run({ reads: [this.prototypes] }));
  }
}

describe("a Python rank with an executor", function () {
  this.timeout(30_000);
  let peer: PythonPeer;
  let room: DeviceRoom;
  let server: BridgeServer;

  before(async () => {
    peer = await PythonPeer.start();
  });

  beforeEach(async () => {
    room = new DeviceRoom(D, K);
    server = await BridgeServer.start({ open: async () => room, deadline: 10 });
    await peer.join(server.endpoint, { device: "cpu" });
  });

  afterEach(async () => {
    await peer.call("close");
    await server.close();
  });

  after(() => peer.kill());

  const step = async (step: number) =>
    answer.parse(await peer.call("step", { step, rows_: { n: N, d: D, seed: 0 }, announced: N }));

  it("takes steps on rows that never leave it, by a program that is sent once", async () => {
    const first = await step(0);
    const near = Math.fround(0.1);
    assert.deepEqual(
      first.prototypes?.data,
      Array.from({ length: K }, () => [near, near]),
    );
    assert.deepEqual(first.targets?.shape, [N, K]);
    await step(1);
    const { metrics, announced, rows } = room.batches[1] ?? assert.fail();
    assert.deepEqual(metrics, Float32Array.of(Math.fround(1 + near), Math.fround(2 + near)));
    assert.deepEqual([announced, rows], [{ n: N }, undefined]);
    assert.deepEqual(room.failures, []);
  });

  it("sends the values that a run reads, and carries out runs until the plugin says goodbye", async () => {
    const served = peer.call("serve");
    room.readPrototypes();
    while (room.read.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    const [[tensor] = []] = room.read;
    assert.deepEqual([tensor?.shape, tensor?.data], [[K, D], new Float32Array(K * D)]);
    await server.close("enough");
    assert.equal(await served, "enough");
  });

  it("says why a run failed, and reads the plugin's answer", async () => {
    room.handle = 0; // the outputs would take the handle of the prototypes
    await assert.rejects(step(0), { kind: "BatchError", code: "plugin", message: /is a tensor 1 already/ });
    assert.deepEqual(
      room.failures.map(({ code, at }) => [code, at]),
      [["handle", -1]],
    );
  });
});
