import assert from "node:assert/strict";
import { NONE } from "../../src/backend/torch/program.ts";
import { encode, type Tensors } from "../../src/bridge/codec.ts";
import { RejectError } from "../../src/bridge/errors.ts";
import type { Run } from "../../src/bridge/executor-run.ts";
import type { Answer, Batch, Hello, RunFailure, Welcome } from "../../src/bridge/room.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { RawRank } from "./raw-rank.ts";

const nothing = { program: "", inputs: [], base: 0, free: [], reads: [], literals: [], forget: false };
const unnamed = { rows: NONE, metrics: NONE, prototypes: NONE, targets: NONE };

function run(seq: number, more: Partial<Run> = {}): Run {
  return { seq, ...nothing, ...unnamed, uploads: new Map(), ...more };
}

/** A room whose mixture lies on its ranks' devices. */
class DeviceRoom extends EchoRoom {
  send: (run: Run) => void = () => assert.fail("no world has formed");
  readonly failures: [rank: number, RunFailure][] = [];
  sentence: string | undefined;
  /** What has been read, by seq. */
  private readonly pending = new Map<number, (values: number[][]) => void>();
  private seq = 0;
  start: Run | undefined;
  refused: number | undefined;
  /** Whether a welcome waits for what a run reads. */
  looks = false;

  attach(send: (run: Run) => void): void {
    this.send = send;
  }

  override async welcome(hello: Hello): Promise<Welcome> {
    if (hello.executor === this.refused) throw new RejectError("version", "another version");
    if (this.looks) await this.read(1);
    const welcome = await super.welcome(hello);
    const { start } = this;
    this.start = undefined;
    return start ? { ...welcome, run: start } : welcome;
  }

  /** The values of handles, for which a run is sent at once. */
  read(...reads: number[]): Promise<number[][]> {
    this.seq += 1;
    const { seq } = this;
    return new Promise((resolve) => {
      this.pending.set(seq, resolve);
      this.send(run(seq, { reads }));
    });
  }

  values(seq: number, tensors: { data: ArrayLike<number> }[]): void {
    this.pending.get(seq)?.(tensors.map(({ data }) => Array.from(data)));
  }

  failed(rank: number, failure: RunFailure): string | undefined {
    this.failures.push([rank, failure]);
    return this.sentence;
  }
}

describe("runs on the ranks' devices", () => {
  let server: BridgeServer;
  let room: DeviceRoom;
  let ranks: RawRank[];
  const announced = { type: "embeddings", epoch: 0, scalars: {}, announced: 8 } as const;

  beforeEach(async () => {
    room = new DeviceRoom();
    ranks = [];
    server = await BridgeServer.start({ open: async () => room, deadline: 10 });
  });

  afterEach(async () => {
    for (const rank of ranks) rank.close();
    await server.close();
  });

  async function said(generation: string, more: Parameters<RawRank["hello"]>[0] = {}): Promise<RawRank> {
    const rank = new RawRank(server.endpoint, generation);
    ranks.push(rank);
    await rank.hello({ executor: 1, device: "cpu", ...more });
    return rank;
  }

  /** The run of the next message, which is of this type. */
  async function runOf(rank: RawRank, type: "welcome" | "targets" | "execute") {
    const { header, tensors } = await rank.receive();
    assert.equal(header.type, type);
    if (header.type !== "welcome" && header.type !== "targets" && header.type !== "execute") assert.fail();
    return { run: header.run, tensors };
  }

  async function announce(rank: RawRank, step: number, n = 8, metrics?: number[]): Promise<void> {
    const { generation } = rank;
    const data = Float32Array.from(metrics ?? []);
    const tensors = metrics && { metrics: { dtype: "float32" as const, shape: [data.length], data } };
    await rank.send({ ...announced, generation, step, announced: n }, tensors);
  }

  function answerWith(more: (batch: Batch) => Promise<Partial<Answer>>): void {
    room.onStep = async (batch) => ({ scalars: {}, commands: [], ...(await more(batch)) });
  }

  /** Says what a run read. */
  function tell(rank: RawRank, seq: number, ...values: number[]): Promise<void> {
    const { generation } = rank;
    const tensors: Tensors = {};
    for (const [i, value] of values.entries()) {
      tensors[i] = { dtype: "float32", shape: [], data: Float32Array.of(value) };
    }
    return rank.send({ type: "values", generation, seq }, tensors);
  }

  async function twoRanks(): Promise<[RawRank, RawRank]> {
    const zero = await said("a", { rank: 0, world: 2 });
    await runOf(zero, "welcome");
    const one = await said("b", { rank: 1, world: 2 });
    await runOf(one, "welcome");
    return [zero, one];
  }

  it("tells the room which programs a rank can run; the room decides whether to admit it", async () => {
    const hellos: Hello[] = [];
    room.onWelcome = (hello) => hellos.push(hello);
    const one = await said("one", { executor: 7, device: "cuda:0 A" });
    await one.receive();
    assert.deepEqual([hellos[0]?.executor, hellos[0]?.device], [7, "cuda:0 A"]);
    await one.send({ type: "bye", generation: "one", reason: "" });
    room.refused = 8;
    const { header } = await (await said("two", { executor: 8 })).receive();
    assert.ok(header.type === "reject" && header.code === "version");
  });

  it("carries a run with welcome and targets, its definition and uploads beside it", async () => {
    const definition = new TextEncoder().encode("{}");
    const data = Float32Array.of(1, 2);
    room.start = run(1, {
      definition,
      program: "0123456789abcdef",
      literals: [-0, 0.1],
      uploads: new Map([[3, { dtype: "float32", shape: [2], data }]]),
    });
    const one = await said("one");
    const welcome = await runOf(one, "welcome");
    const literals = new Uint8Array(Float64Array.of(-0, 0.1).buffer);
    const { definition: _, uploads: __, ...fields } = run(1, { program: "0123456789abcdef" });
    const { literals: came = new Uint8Array(), ...rest } = welcome.run ?? {};
    assert.deepEqual({ ...rest, literals: new Uint8Array(came) }, { ...fields, literals });
    assert.deepEqual(welcome.tensors.definition?.data, definition);
    assert.deepEqual(welcome.tensors["upload.3"]?.data, data);
    answerWith(async () => ({ run: run(2, { targets: 5 }) }));
    await announce(one, 0, 8, [0.5, Number.NaN]);
    assert.equal((await runOf(one, "targets")).run?.targets, 5);
    const [batch] = room.batches;
    assert.deepEqual([batch?.rows, batch?.announced], [undefined, { n: 8 }]);
    assert.deepEqual(batch?.metrics, Float32Array.of(0.5, Number.NaN));
  });

  it("sends a step's run in less than 1 KB when everything is known", async () => {
    const many = Array.from({ length: 16 }, (_, i) => 70_000 + i);
    const scalars = Object.fromEntries(["lr", "momentum", "teacherTemperature", "beta"].map((x) => [x, 0.1]));
    const literals = Array.from({ length: 40 }, (_, i) => i / 7);
    const step = run(9, { program: "0123456789abcdef", inputs: many, free: many, literals, base: 80_000 });
    answerWith(async () => ({ scalars, run: step }));
    const one = await said("one");
    await one.receive();
    await announce(one, 0);
    const bytes = (await one.frames()).reduce((sum, frame) => sum + frame.length, 0);
    assert.ok(bytes < 1000, `${bytes} bytes`);
  });

  it("passes the values of a read at once to the step that waits for them", async () => {
    const one = await said("one");
    await one.receive();
    answerWith(async () => ({ scalars: { read: (await room.read(3))[0]?.[0] ?? 0 } }));
    await announce(one, 0);
    assert.deepEqual((await runOf(one, "execute")).run?.reads, [3]);
    await tell(one, 1, 42);
    const { header } = await one.receive();
    assert.deepEqual(header.type === "targets" && header.scalars, { read: 42 });
  });

  it("holds a run back until the run of the answer before it has been sent", async () => {
    room.start = run(1);
    const one = await said("one");
    await runOf(one, "welcome");
    answerWith(async () => {
      room.send(run(3, { reads: [4] }));
      await new Promise((resolve) => setTimeout(resolve, 20));
      return { run: run(2) };
    });
    await announce(one, 0);
    assert.equal((await runOf(one, "targets")).run?.seq, 2);
    assert.equal((await runOf(one, "execute")).run?.seq, 3);
  });

  it("sends every run to all ranks and reads from rank 0 alone", async () => {
    const [zero, one] = await twoRanks();
    const reading = room.read(3, 4);
    assert.deepEqual((await runOf(zero, "execute")).run?.reads, [3, 4]);
    assert.deepEqual((await runOf(one, "execute")).run?.reads, []);
    await tell(one, 1, 8, 8);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await tell(zero, 1, 1, 2);
    assert.deepEqual(await reading, [[1], [2]]);
    answerWith(async () => ({ run: run(2, { reads: [5] }) }));
    await announce(zero, 0);
    await announce(one, 0);
    assert.deepEqual((await runOf(zero, "targets")).run?.reads, [5]);
    assert.deepEqual((await runOf(one, "targets")).run?.reads, []);
  });

  it("reads from the rank that asks for the state or a welcome, whatever rank 0 is busy with", async () => {
    room.looks = true;
    const zero = await said("a", { rank: 0, world: 2 });
    await tell(zero, (await runOf(zero, "execute")).run?.seq ?? 0, 1);
    await runOf(zero, "welcome");
    const one = await said("b", { rank: 1, world: 2 });
    await runOf(one, "execute"); // the one that it has missed
    const { run: welcoming } = await runOf(one, "execute");
    assert.deepEqual(welcoming?.reads, [1]);
    await tell(one, welcoming?.seq ?? 0, 1);
    await runOf(one, "welcome");
    const beside = room.read(7); // of nobody's asking: rank 0 answers when it has time
    assert.deepEqual((await runOf(one, "execute")).run?.reads, []);
    room.state = async () => {
      const [data = []] = await room.read(3);
      return { read: { shape: [1], data: Float32Array.from(data) } };
    };
    await one.send({ type: "state", generation: one.generation, step: 0 });
    const { run: asked } = await runOf(one, "execute");
    assert.deepEqual(asked?.reads, [3]);
    await tell(one, asked?.seq ?? 0, 5);
    assert.equal((await one.receive()).header.type, "state");
    await tell(zero, (asked?.seq ?? 0) - 1, 9);
    assert.deepEqual(await beside, [[9]]);
  });

  it("gives a rank that joins later the runs that it has missed, before its welcome", async () => {
    room.start = run(2, { uploads: new Map([[1, { dtype: "bool", shape: [1], data: Uint8Array.of(1) }]]) });
    room.onWelcome = () => {
      if (room.start) room.send(run(1, { reads: [1] }));
    };
    const zero = await said("a", { rank: 0, world: 2 });
    assert.equal((await runOf(zero, "execute")).run?.seq, 1);
    assert.equal((await runOf(zero, "welcome")).run?.seq, 2);
    room.send(run(3));
    assert.equal((await runOf(zero, "execute")).run?.seq, 3);
    const one = await said("b", { rank: 1, world: 2 });
    const first = await runOf(one, "execute");
    assert.deepEqual([first.run?.seq, first.run?.reads], [1, []]);
    const second = await runOf(one, "execute");
    assert.deepEqual(second.tensors["upload.1"], { dtype: "bool", shape: [1], data: Uint8Array.of(1) });
    assert.equal((await runOf(one, "execute")).run?.seq, 3);
    assert.equal((await runOf(one, "welcome")).run, null);
    room.onWelcome = undefined;
    room.start = run(4);
    await zero.send({ type: "load", generation: "a", step: 5 });
    assert.equal((await runOf(one, "execute")).run?.seq, 4, "the run of another rank's welcome");
  });

  it("sends reads requested before the first rank joined to that rank", async () => {
    const { attach } = room;
    room.attach = (send) => {
      attach.call(room, send);
      send(run(1, { reads: [3] }));
    };
    const zero = await said("a", { rank: 0, world: 2 });
    assert.deepEqual((await runOf(zero, "execute")).run?.reads, [3]);
    const one = await said("b", { rank: 1, world: 2 });
    assert.deepEqual((await runOf(one, "execute")).run?.reads, []);
  });

  it("starts over when a world forms: runs of an earlier world have no effect", async () => {
    const one = await said("one");
    await one.receive();
    const { send } = room;
    await one.send({ type: "bye", generation: "one", reason: "" });
    const two = await said("two");
    await two.receive();
    send(run(1));
    room.send(run(2));
    assert.equal((await runOf(two, "execute")).run?.seq, 2);
  });

  it("refuses ranks that announce different numbers of rows, or send rows as well", async () => {
    const [zero, one] = await twoRanks();
    await announce(zero, 0, 8);
    await announce(one, 0, 9);
    for (const rank of [zero, one]) {
      const { header } = await rank.receive();
      assert.ok(header.type === "error" && header.code === "shape");
      assert.match(header.message, /the ranks announce 8, 9 rows/);
    }
    await zero.embeddings(0, [[1, 2]], { announced: 1 });
    await announce(one, 0, 1);
    const { header } = await zero.receive();
    assert.match(header.type === "error" ? header.message : "", /sent or announced, not both/);
    assert.equal(room.batches.length, 0);
  });

  it("names the ranks whose metrics are other bits than rank 0's", async () => {
    const [zero, one] = await twoRanks();
    answerWith(async () => ({}));
    for (const [step, other] of [Number.NaN, 0.25].entries()) {
      await announce(zero, step, 8, [Number.NaN]);
      await announce(one, step, 8, [other]);
      await zero.receive();
      await one.receive();
    }
    assert.deepEqual(
      room.batches.map(({ drifted }) => drifted),
      [undefined, [1]],
    );
  });

  it("tells the room and then the rank that a step's run failed; the rank may send the step again", async () => {
    const one = await said("one");
    await one.receive();
    answerWith(async () => ({ commands: ["evaluate"], run: run(5) }));
    room.sentence = "Add of [2] and [3], queued at plugin.ts:7: sizes differ";
    const failed = { type: "failed", generation: "one", seq: 5, at: 2, code: "failed" } as const;
    await announce(one, 0);
    await one.receive();
    await one.send({ ...failed, message: "sizes differ" });
    const { header } = await one.receive();
    assert.ok(header.type === "error");
    assert.deepEqual([header.step, header.code, header.message], [0, "plugin", room.sentence]);
    assert.deepEqual(room.failures, [[0, { seq: 5, at: 2, code: "failed", message: "sizes differ" }]]);
    await announce(one, 0);
    assert.equal((await runOf(one, "targets")).run?.seq, 5);
    assert.equal(room.batches.length, 2);
  });

  it("breaks a world of several when one of them could not carry out a step's run", async () => {
    const [zero, one] = await twoRanks();
    answerWith(async () => ({ run: run(5) }));
    for (const rank of [zero, one]) await announce(rank, 0);
    for (const rank of [zero, one]) await rank.receive();
    await one.send({ type: "failed", generation: "b", seq: 5, at: -1, code: "memory", message: "full" });
    for (const rank of [zero, one]) {
      const { header } = await rank.receive();
      assert.ok(header.type === "error" && header.code === "peer");
      assert.match(header.message, /rank 1: full/);
    }
  });

  it("rejects a rank that could not carry out the run of its welcome", async () => {
    room.start = run(1);
    const one = await said("one");
    await one.receive();
    await one.send({ type: "failed", generation: "one", seq: 1, at: 0, code: "kernel", message: "no Sum" });
    const { header } = await one.receive();
    assert.ok(header.type === "reject" && header.code === "state");
    assert.equal(header.message, "no Sum");
  });

  it("treats malformed values as a failed run", async () => {
    const one = await said("one");
    await one.receive();
    void room.read(3);
    await one.receive();
    const tensors = { "0": { dtype: "float32" as const, shape: [1], data: Float32Array.of(1) } };
    const values = { type: "values", generation: "one", seq: 1 } as const;
    await one.sendFrames(encode(values, tensors).slice(0, 1));
    while (room.failures.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    assert.match(room.failures[0]?.[1].message ?? "", /4 bytes; 0 bytes came/);
  });
});
