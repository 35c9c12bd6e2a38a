import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { encode } from "../../src/bridge/codec.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { Network } from "./network.ts";
import { PeerFailure, PythonPeer } from "./peers.ts";

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
const DEADLINE = 4;

describe("a real rank and a real server, with a network between them that", function () {
  this.timeout(60_000);
  let peer: PythonPeer;
  let room: EchoRoom;
  let server: BridgeServer;
  let network: Network;

  before(async function () {
    this.timeout(240_000);
    peer = await PythonPeer.start();
  });
  after(() => peer.kill());

  beforeEach(async () => {
    room = new EchoRoom();
    server = await BridgeServer.start({ open: async () => room, deadline: 10, commandDeadline: 20 });
    network = await Network.before(server.endpoint);
  });
  afterEach(async () => {
    try {
      await peer.call("close");
    } finally {
      await server.close();
      network.close();
    }
  });

  const join = (deadline = DEADLINE) => peer.join(network.endpoint, { deadline });
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
      network.spoil(type, { copies: 0 });
      await takesThreeSteps();
    });
  }

  for (const type of ["hello", "welcome"] as const) {
    it(`loses a ${type}: the rank says hello again`, async () => {
      network.spoil(type, { copies: 0 });
      await join(10);
      await takesThreeSteps();
    });
  }

  it("delivers everything twice: nothing happens twice", async () => {
    network.plan = () => ({ copies: 2 });
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

  it("delivers everything late, but in time", async () => {
    await join();
    network.plan = () => ({ copies: 1, after: 100 });
    await takesThreeSteps();
  });

  it("loses every answer: at its deadline the rank names what it waited for", async () => {
    await join();
    network.spoil("targets", { copies: 0 }, Number.POSITIVE_INFINITY);
    const lost = await failure(take(0));
    assert.equal(lost.kind, "DeadlinePassed");
    assert.match(
      lost.message,
      /run "test", rank 0: waited for targets of step 0 from the plugin .* for 4 s$/,
    );
    assert.equal(room.batches.length, 1);
  });

  it("loses a result: the next step is refused, and the sentence says which result is missing", async () => {
    room.commands = ["evaluate", "checkpoint"];
    await join();
    await take(0);
    network.spoil("result", { copies: 0 });
    for (const command of room.commands) await peer.call("result", { command, step: 1 });
    const refused = await failure(take(1));
    assert.equal(refused.code, "order");
    assert.match(refused.message, /step 1 came, the result of evaluate after step 1 is next/);
  });

  it("loses the result of a stop: leaving without it is no regular end", async () => {
    room.commands = ["stop"];
    await join();
    await take(0);
    network.spoil("result", { copies: 0 });
    await peer.call("result", { command: "stop", step: 1 });
    await peer.call("close");
    await until(() => room.gone.length > 0);
    assert.deepEqual(room.gone, ["rank 0 left: it did not send the result of stop after step 1"]);
  });

  it("delivers pongs of an older generation: they do not prolong a wait", async () => {
    room.onStep = () => new Promise(() => {});
    await join();
    network.plan = ({ type }) => {
      if (type === "ping") void network.tell(encode({ type: "pong", generation: "old" }));
      return { copies: 1 };
    };
    const lost = await failure(take(0));
    assert.equal(lost.kind, "DeadlinePassed");
    assert.match(lost.message, /no sign of life for 4 s/);
  });

  it("works, but a command hangs: its own deadline ends it", async () => {
    const hurried = await BridgeServer.start({ open: async () => room, commandDeadline: 0.5 });
    room.firstCommands = ["evaluate"];
    await peer.join(hurried.endpoint);
    await until(() => room.gone.length > 0);
    await hurried.close();
    assert.match(
      room.gone[0] ?? "",
      /^rank 0 lost: the result of evaluate after step 0 did not come within 0.5 s \(bridge.commandDeadline/,
    );
  });

  it("works, but a rank is stopped in the middle of a command: missing heartbeats reveal it", async () => {
    room.firstCommands = ["evaluate"];
    await peer.join(server.endpoint);
    peer.process.kill("SIGSTOP");
    try {
      await until(() => room.gone.length > 0);
    } finally {
      peer.process.kill("SIGCONT");
    }
    assert.match(
      room.gone[0] ?? "",
      /^rank 0 lost: its process ended or its connection broke .*; the result of evaluate after step 0 is missing$/,
    );
  });
});
