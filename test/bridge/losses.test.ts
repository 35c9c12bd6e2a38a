import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { decode, encode } from "../../src/bridge/codec.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { PeerFailure, PythonPeer } from "./peers.ts";
import { Proxy } from "./proxy.ts";

const answer = z.object({ step: z.number(), targets: z.object({ data: z.array(z.array(z.number())) }) });

async function failure(call: Promise<unknown>): Promise<PeerFailure> {
  try {
    await call;
  } catch (error) {
    if (error instanceof PeerFailure) return error;
    throw error;
  }
  assert.fail("the call succeeded");
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(5);
}

/** Seconds. A step is asked for again after a quarter. */
const DEADLINE = 1;

describe("a real rank and a real server, with a network between them that", function () {
  this.timeout(60_000);
  let peer: PythonPeer;
  let room: EchoRoom;
  let server: BridgeServer;
  let proxy: Proxy;

  before(async function () {
    this.timeout(240_000);
    peer = await PythonPeer.start();
  });
  after(() => peer.kill());

  beforeEach(async () => {
    room = new EchoRoom();
    server = await BridgeServer.start({ open: async () => room, deadline: 10, commandDeadline: 1 });
    proxy = await Proxy.before(server.endpoint);
  });
  afterEach(async () => {
    try {
      await peer.call("close");
    } finally {
      await server.close();
      proxy.close();
    }
  });

  const join = (deadline = DEADLINE) => peer.join(proxy.endpoint, { deadline });
  const take = async (step: number) =>
    answer.parse(await peer.call("step", { step, rows_: [[step + 1, 2]] }));

  /** Three steps from 0, each taken once and with its own answer. */
  async function takesThreeSteps(): Promise<void> {
    for (let step = 0; step < 3; step++) {
      const { targets } = await take(step);
      assert.deepEqual(targets.data, [[step + 1, 2]]);
    }
    assert.deepEqual(
      room.batches.map(({ step }) => step),
      [0, 1, 2],
    );
  }

  for (const type of ["embeddings", "targets"] as const) {
    it(`loses ${type}: the rank asks again, and the step is taken once`, async () => {
      await join();
      proxy.spoil(type, { copies: 0 });
      await takesThreeSteps();
    });
  }

  for (const type of ["hello", "welcome"] as const) {
    it(`loses a ${type}: the rank says hello again`, async () => {
      proxy.spoil(type, { copies: 0 });
      await join(10);
      await takesThreeSteps();
    });
  }

  it("brings everything twice: nothing happens twice", async () => {
    proxy.plan = () => ({ copies: 2 });
    room.commands = ["evaluate", "checkpoint"];
    await join();
    for (let step = 0; step < 3; step++) {
      await take(step);
      for (const command of room.commands) await peer.call("result", { command, step: step + 1 });
    }
    await until(() => room.results.length >= 6);
    await peer.call("state"); // answered after everything before it
    assert.deepEqual(
      room.results.map(({ command, step }) => `${command} ${step}`),
      [1, 2, 3].flatMap((step) => [`evaluate ${step}`, `checkpoint ${step}`]),
    );
    assert.equal(room.batches.length, 3);
  });

  it("brings everything late, but in time", async () => {
    await join();
    proxy.plan = () => ({ copies: 1, after: 100 });
    await takesThreeSteps();
  });

  it("loses every answer: the rank says what it waited for, at its deadline", async () => {
    await join();
    proxy.spoil("targets", { copies: 0 }, Number.POSITIVE_INFINITY);
    const lost = await failure(take(0));
    assert.equal(lost.kind, "DeadlinePassed");
    assert.match(
      lost.message,
      /run "test", rank 0: waited for targets of step 0 from the plugin .* for 1 s$/,
    );
    assert.equal(room.batches.length, 1);
  });

  it("loses a result: the next step is refused, and the sentence says which result is missing", async () => {
    room.commands = ["evaluate", "checkpoint"];
    await join();
    await take(0);
    proxy.spoil("result", { copies: 0 });
    for (const command of room.commands) await peer.call("result", { command, step: 1 });
    const refused = await failure(take(1));
    assert.equal(refused.code, "order");
    assert.match(refused.message, /step 1 came, the result of evaluate after step 1 is next/);
  });

  it("loses a goodbye's result: leaving without it is no regular end", async () => {
    room.commands = ["stop"];
    await join();
    await take(0);
    proxy.spoil("result", { copies: 0 });
    await peer.call("result", { command: "stop", step: 1 });
    await peer.call("close");
    await until(() => room.gone.length > 0);
    assert.deepEqual(room.gone, ["rank 0 left: it did not send the result of stop after step 1"]);
  });

  it("brings pongs of an older generation: they do not prolong a wait", async () => {
    room.onStep = () => new Promise(() => {});
    await join();
    proxy.plan = (_, frames) => {
      const { header, tensors } = decode(frames);
      // Whatever the plugin says to this rank now reaches it as a pong that is meant for its predecessor.
      if (header.type === "ping")
        frames.splice(0, frames.length, ...encode({ type: "ping", generation: "old" }, tensors));
      return { copies: 1 };
    };
    const [rank] = [peer.call("step", { step: 0, rows_: [[1, 2]] })];
    const lost = await failure(rank);
    assert.equal(lost.kind, "DeadlinePassed");
  });

  it("is fine, but a command hangs: it has a deadline of its own", async () => {
    room.commands = ["evaluate"];
    await join();
    await take(0);
    await until(() => room.gone.length > 0);
    assert.match(
      room.gone[0] ?? "",
      /^rank 0 lost: the result of evaluate after step 1 did not come within 1 s \(bridge.commandDeadline/,
    );
  });

  it("is fine, but a rank is stopped: it is lost by its heartbeats, in the middle of a command or a step", async () => {
    const victims = await Promise.all([PythonPeer.start(), PythonPeer.start()]);
    server = (await server.close(), await BridgeServer.start({ open: async () => room, deadline: 30 }));
    room.firstCommands = ["evaluate"];
    for (const [rank, victim] of victims.entries()) await victim.join(server.endpoint, { rank, world: 2 });
    victims[1]?.process.kill("SIGSTOP");
    await until(() => room.gone.length > 0);
    assert.match(room.gone[0] ?? "", /^rank 1 lost: its process ended, was stopped, or its connection broke/);
    await Promise.all(victims.map((victim) => victim.kill()));
  });
});
