import assert from "node:assert/strict";
import { openBackend } from "../../src/backend/backend.ts";
import { KERNELS_VERSION } from "../../src/backend/torch/program.ts";
import type { BridgeServer } from "../../src/bridge/server.ts";
import { UserError } from "../../src/errors.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";
import { Device } from "../../src/mixture/device.ts";
import { DeviceEdge } from "../../src/mixture/device-edge.ts";
import { HostEdge } from "../../src/mixture/host-edge.ts";
import type { MixtureOptions, MixtureParts } from "../../src/mixture/mixture.ts";
import { at, bits, clusteredRows, difference, type Settings } from "../plugins/support.ts";
import { DeviceRank, EdgeRoom, serving } from "./device-rank.ts";
import { D, K, kinds, N, ownSchedules, parts } from "./support.ts";

const rows = (step: number) => clusteredRows(N, D, step);

/** The rows of a step with one of them spoiled. JSON has no NaN: the rank takes null for it. */
function spoiled(step: number, row: number, by: number): number[][] {
  return rows(step).map((each, i) => (i === row ? each.map(() => by) : each));
}

describe("a mixture on a rank's device", function () {
  this.timeout(60_000);
  let rank: DeviceRank;
  const servers: BridgeServer[] = [];

  before(async () => {
    await openBackend("wasm");
    rank = await DeviceRank.start();
  });
  afterEach(async () => {
    await rank.leave();
    for (const server of servers.splice(0)) await server.close();
  });
  after(() => rank.kill());

  interface Options extends Partial<MixtureOptions> {
    memory?: number;
    state?: NamedTensors;
    steps?: number;
  }

  async function opened(of: MixtureParts, { memory, state, steps = 0, ...options }: Options = {}) {
    const edge = await DeviceEdge.open(of, { dim: D, seed: 3, ...options }, new Device(memory));
    if (state) edge.load(state);
    const room = new EdgeRoom(edge, (step) => at(step), steps);
    const server = await serving(room);
    servers.push(server);
    return { edge, room, server };
  }

  async function joined(of: MixtureParts, options: Options = {}) {
    const { edge, room, server } = await opened(of, options);
    room.save = true;
    const { prototypes } = await rank.join(server.endpoint);
    return { edge, room, start: prototypes, state: async () => bits((await room.saved.at(-1)) ?? {}) };
  }

  for (const [kind, settings, targets] of [
    ["shared covariance", { annealing: { linear: { from: 0.5, to: 1 } } }, null],
    [
      "diagonal covariance, estimated weights, targets of its own",
      { covariance: "diagonal", weights: "estimated", cutoff: 0.02, prior: { strength: 5 } },
      { by: "plugin" },
    ],
  ] satisfies [string, Settings, object | null][]) {
    it(`costs one message each way a step, under 1 KB, and no read, once it is known: ${kind}`, async () => {
      const { edge, room } = await joined(parts(settings, targets), { use: targets !== null });
      room.save = false;
      for (let step = 0; step < 2; step++) await rank.take(step, rows(step));
      await rank.traffic();
      const waits = edge.device.roundTrips;
      const held = new Set<number>();
      for (let step = 2; step < 52; step++) held.add((await rank.take(step, rows(step))).handles);
      const { sent, received } = await rank.traffic();
      const of = (messages: typeof sent) => ({
        count: messages.length,
        types: [...new Set(messages.map(({ type }) => type))],
        tensors: [...new Set(messages.flatMap(({ tensors }) => tensors))],
      });
      assert.deepEqual(of(sent), { count: 50, types: ["embeddings"], tensors: ["metrics"] });
      assert.deepEqual(of(received), { count: 50, types: ["targets"], tensors: [] });
      const [most, least] = [received, sent].map((messages) =>
        Math.max(...messages.map(({ bytes }) => bytes)),
      );
      console.log(`      ${most} bytes to the rank, ${least} from it`);
      assert.ok(Number(most) < 1000 && Number(least) < 1000, `${most} and ${least} bytes`);
      assert.equal(edge.device.roundTrips, waits, "nothing is read");
      assert.equal(held.size, 1, "the device holds as much as before");
    });
  }

  it("reads the prototypes and the components in use in one round trip", async () => {
    const { edge } = await joined(parts({}), { use: true });
    for (let step = 0; step < 3; step++) await rank.take(step, rows(step));
    const waits = edge.device.roundTrips;
    const asked = edge.prototypesInUse();
    await rank.take(3, rows(3)); // a rank hears of what is asked for while it waits for an answer
    const { prototypes, used } = await asked;
    assert.equal(edge.device.roundTrips, waits + 1);
    assert.deepEqual([prototypes.n, prototypes.d, prototypes.data.length], [K, D, K * D]);
    assert.ok(used?.length === K && used.includes(1), `${used}`);
  });

  for (const [kind, settings] of Object.entries(kinds)) {
    it(`names a row that is not finite or all zero one step later; that step changes nothing: ${kind}`, async () => {
      const of = parts(settings, { by: "plugin", balance: "center" });
      const { room, state } = await joined(of, { use: true });
      const good = async (step: number, seed = step) => rank.take(step, rows(seed));
      await good(0);
      await good(1);
      const before = await state();
      const wrong = [
        [7, Number.NaN],
        [0, 0],
        [N - 1, 1e39],
      ] as const;
      for (const [i, [row, by]] of wrong.entries()) {
        const taken = await rank.take(2 + i, spoiled(2 + i, row, by));
        assert.ok([...taken.prototypes.data].every(Number.isFinite));
        assert.deepEqual(await state(), before);
        assert.deepEqual(room.bad.at(-1), i === 0 ? undefined : { step: 1 + i, row: wrong[i - 1]?.[0] });
      }
      await good(5, 2);
      assert.deepEqual(
        room.bad,
        wrong.map(([row], i) => ({ step: 2 + i, row })),
      );
      const broken = await state();
      await good(6, 3);
      assert.equal(room.bad.length, 3);
      await rank.leave();

      const whole = await joined(of, { use: true });
      for (const step of [0, 1, 2]) await good(step);
      assert.deepEqual(broken, await whole.state(), "as if they had never come");
    });
  }

  it("refuses such a row at once if the mixture begins at the data, and takes the step when it is repeated", async () => {
    const of = parts({ init: { from: "data" }, components: N + 5, variance: 0.1 });
    const { room } = await joined(of);
    await assert.rejects(rank.take(0, spoiled(0, 4, Number.NaN)), {
      kind: "BatchError",
      code: "row",
      row: 4,
      message: /row 4 of the embeddings is not finite or all zero/,
    });
    for (const step of [0, 1, 2, 3]) await rank.take(step, rows(step));
    const found = (await room.saved.at(-1)) ?? {};
    const host = await HostEdge.open(of, { dim: D, seed: 3 });
    for (const step of [0, 1, 2, 3])
      await host.step({ rows: { data: Float32Array.from(rows(step).flat()), n: N, d: D } }, at(step));
    const expected = await host.state();
    for (const name of ["plugin.prototypes", "plugin.counts"])
      assert.ok(difference([...(found[name]?.data ?? [])], [...(expected[name]?.data ?? [])]) < 1e-5, name);
    host.dispose();
  });

  it("continues after a step that failed in Node, bit for bit as if it had not been asked for", async () => {
    let broken = false;
    const schedules = ownSchedules({
      fragile: () => {
        if (broken) throw new RangeError("not now");
        return 0.1;
      },
    });
    const of = parts(
      { variance: 0.1 },
      { by: "plugin", balance: "center", temperature: { custom: "fragile" } },
    );
    const values = { schedules, factory: undefined };
    const { room, state } = await joined(of, { values });
    for (const step of [0, 1]) await rank.take(step, rows(step));
    for (const n of [N, N, 3]) {
      broken = true;
      await assert.rejects(rank.take(2, clusteredRows(n, D, 9)), { kind: "BatchError", message: /not now/ });
      broken = false;
    }
    const { handles } = await rank.take(2, rows(2));
    assert.deepEqual(room.failures, []);
    const found = await state();
    await rank.leave();
    const whole = await joined(of, { values });
    for (const step of [0, 1]) await rank.take(step, rows(step));
    assert.equal((await rank.take(2, rows(2))).handles, handles, "the device holds nothing of failed steps");
    assert.deepEqual(found, await whole.state());
  });

  it("continues from a saved state bit for bit, and from one of a mixture in Node to rounding", async () => {
    for (const [kind, settings] of Object.entries(kinds)) {
      const of = parts(settings, { by: "plugin", balance: "center" });
      const unbroken = await joined(of);
      for (const step of [0, 1, 2]) await rank.take(step, rows(step));
      const middle = (await unbroken.room.saved.at(-1)) ?? {};
      for (const step of [3, 4]) await rank.take(step, rows(step));
      const end = await unbroken.state();
      await rank.leave();

      const again = await joined(of, { state: middle, steps: 3 });
      assert.deepEqual(
        again.start.data,
        middle["plugin.prototypes"]?.data,
        "the rank begins at what was saved",
      );
      for (const step of [3, 4]) await rank.take(step, rows(step));
      assert.deepEqual(await again.state(), end, kind);
      const onDevice = (await again.room.saved.at(-1)) ?? {};
      await rank.leave();

      const host = await HostEdge.open(of, { dim: D, seed: 3 });
      const take = (step: number) =>
        host.step({ rows: { data: Float32Array.from(rows(step).flat()), n: N, d: D } }, at(step));
      const near = (found: NamedTensors, expected: NamedTensors, way: string) => {
        assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
        for (const [name, { data }] of Object.entries(expected)) {
          if (name === "plugin.progress") continue;
          const apart = difference([...(found[name]?.data ?? [])], [...data]);
          assert.ok(apart < 1e-4, `${kind}, ${way}: ${name} differ by ${apart}`);
        }
      };
      host.load(middle);
      for (const step of [3, 4]) await take(step);
      near(await host.state(), onDevice, "from the device to Node");
      host.load(middle);
      const back = await joined(of, { state: await host.state(), steps: 3 });
      for (const step of [3, 4]) await rank.take(step, rows(step));
      near((await back.room.saved.at(-1)) ?? {}, onDevice, "from Node to the device");
      await rank.leave();
      host.dispose();
    }
  });

  it("starts over from prototypes that its rank gives, and the device holds no more than before", async () => {
    await joined(parts({}));
    await rank.take(0, rows(0));
    const { handles } = await rank.take(1, rows(1));
    const start = clusteredRows(K, D, 99);
    const { step, prototypes } = await rank.restart(start);
    assert.equal(step, 0);
    assert.ok(difference([...prototypes.data], start.flat()) < 1e-6);
    await rank.take(0, rows(0));
    assert.equal((await rank.take(1, rows(1))).handles, handles);
  });

  it("rejects a rank with another version of the operations, or with none, in a sentence", async () => {
    const { server } = await opened(parts({}));
    for (const [version, has] of [
      [KERNELS_VERSION + 1, `version ${KERNELS_VERSION + 1}`],
      [0, "none"],
    ] as const) {
      await assert.rejects(rank.join(server.endpoint, { version }), (error) => {
        assert.ok(error instanceof Error);
        assert.match(error.message, new RegExp(`needs version ${KERNELS_VERSION} of the operations`));
        assert.match(
          error.message,
          new RegExp(`the rank has ${has}: install the same mixhead on both sides`),
        );
        return true;
      });
    }
  });

  it("refuses rows that are sent although they have to stay on the device", async () => {
    const { room } = await joined(parts({}));
    await assert.rejects(
      room.step({ step: 0, epoch: 0, scalars: [], rows: { data: new Float32Array(D), n: 1, d: D } }),
      /this mixture is computed on the rank's device: announce the rows/,
    );
  });

  it("ends in a sentence if the device's memory is too small for its start, or for a step", async () => {
    await assert.rejects(
      opened(parts({ components: 1000 }), { memory: 10_000 }),
      (error) =>
        error instanceof UserError && /of the device's memory .* of 0\.0 MiB are taken/.test(error.message),
    );
    await joined(parts({ components: 1000 }), { memory: 3 * 1000 * D * 4 });
    await assert.rejects(rank.take(0, clusteredRows(600, D, 0)), {
      kind: "BatchError",
      message:
        /\w+ of float32 \[600, 8\].* would take .* MiB of the device's memory \(src\/plugins\/.*\.ts:\d+:\d+\), but .* are taken/,
    });
  });

  it("ends in the executor's sentence if that is allowed less", async () => {
    const { room, server } = await opened(parts({ components: 1000 }));
    await assert.rejects(rank.join(server.endpoint, { memory: 50_000 }), /does not admit it/);
    assert.match(room.failures[0] ?? "", /the tensors on cpu would take .* MB; 0\.0 MB are allowed/);
  });
});

describe("ranks whose devices have come apart", function () {
  this.timeout(60_000);
  let ranks: [DeviceRank, DeviceRank];
  before(async () => {
    ranks = await Promise.all([DeviceRank.start(), DeviceRank.start()]);
  });
  after(() => Promise.all(ranks.map((rank) => rank.kill())));

  async function together(of: MixtureParts, work: (take: typeof takeBoth, said: string[]) => Promise<void>) {
    const said: string[] = [];
    const warn = (sentence: string) => void said.push(sentence);
    const edge = await DeviceEdge.open(of, { dim: D, seed: 3, warn }, new Device());
    const server = await serving(new EdgeRoom(edge, (step) => at(step)));
    try {
      for (const [i, rank] of ranks.entries()) await rank.join(server.endpoint, { rank: i, world: 2 });
      await work(takeBoth, said);
    } finally {
      for (const rank of ranks) await rank.leave();
      await server.close();
    }
  }

  async function takeBoth(step: number): Promise<[Float32Array, Float32Array]> {
    const [one, other] = await Promise.all(ranks.map((rank) => rank.take(step, rows(step))));
    return [one?.prototypes.data ?? new Float32Array(), other?.prototypes.data ?? new Float32Array()];
  }

  it("are given rank 0's values, and a line says so", async () => {
    await together(parts({ variance: 0.1 }), async (take, said) => {
      for (const step of [0, 1]) {
        const [one, other] = await take(step);
        assert.deepEqual(one, other);
      }
      await ranks[1].spoil(0.5);
      const [apart, from] = await take(2);
      assert.notDeepEqual(apart, from);
      assert.deepEqual(said, []);
      for (const step of [3, 4]) {
        const [one, other] = await take(step);
        assert.deepEqual(one, other);
      }
      assert.deepEqual(said, ["rank 1 held other prototypes than rank 0, and is given those of rank 0"]);
    });
  });

  it("are noticed by a sum over the prototypes, if nothing else shows", async () => {
    await together(parts({ kind: "kmeans" }), async (take, said) => {
      await take(0);
      await ranks[1].spoil(3);
      for (let step = 1; step <= 101; step++) await take(step);
      const [one, other] = await take(102);
      assert.deepEqual(one, other);
      assert.equal(said.length, 1);
    });
  });
});
