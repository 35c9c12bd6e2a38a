import assert from "node:assert/strict";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBackend } from "../../src/backend/backend.ts";
import type { BridgeServer } from "../../src/bridge/server.ts";
import { Device } from "../../src/mixture/device.ts";
import { DeviceEdge } from "../../src/mixture/device-edge.ts";
import { HostEdge } from "../../src/mixture/host-edge.ts";
import { at, clusteredRows, difference } from "../plugins/support.ts";
import { DeviceRank, EdgeRoom, serving } from "./device-rank.ts";
import { D, N, parts } from "./support.ts";
import { groups, mistakes } from "./user-plugins.ts";

const rows = (step: number) => clusteredRows(N, D, step);

describe("a user's plugin on a rank's device", function () {
  this.timeout(60_000);
  let folder: string;
  let rank: DeviceRank;
  let server: BridgeServer | undefined;
  const said: string[] = [];

  before(async () => {
    await openBackend("wasm");
    folder = await realpath(await mkdtemp(join(tmpdir(), "mixhead-test-")));
    rank = await DeviceRank.start();
  });
  afterEach(async () => {
    await rank.leave();
    await server?.close();
    said.length = 0;
  });
  after(async () => {
    await rank.kill();
    await rm(folder, { recursive: true });
  });

  async function file(name: string, source: string): Promise<string> {
    const path = join(folder, `${name}.ts`);
    await writeFile(path, source);
    return path;
  }

  async function joined(kind: string, from: "similarity" | "plugin" = "similarity") {
    const warn = (sentence: string) => void said.push(sentence);
    const of = parts({ kind }, { from, by: "plugin", balance: "sinkhorn" });
    const edge = await DeviceEdge.open(of, { dim: D, seed: 3, use: true, warn }, new Device());
    const room = new EdgeRoom(edge, (step) => at(step));
    server = await serving(room);
    await rank.join(server.endpoint);
    return { of, edge, room };
  }

  for (const reads of [0, 2]) {
    it(`that reads ${reads} times in a step takes the same steps as in Node, with a warning about the cost`, async () => {
      const { of, edge } = await joined(await file(`reads-${reads}`, groups(reads)));
      const host = await HostEdge.open(of, { dim: D, seed: 3, use: true });
      for (let step = 0; step < 5; step++) {
        const data = Float32Array.from(rows(step).flat());
        const before = edge.device.roundTrips;
        const found = await rank.take(step, rows(step));
        assert.equal(edge.device.roundTrips - before, 2 + reads, "two for its checks");
        const { rows: expected, targets } = await host.step({ rows: { data, n: N, d: D } }, at(step));
        assert.ok(difference([...found.prototypes.data], [...expected.data]) < 1e-5, `step ${step}`);
        assert.ok(difference([...(found.targets?.data ?? [])], [...(targets?.data ?? [])]) < 1e-5);
      }
      host.dispose();
      assert.deepEqual(
        said,
        reads === 0
          ? []
          : [
              'plugin "groups": step 0 waited 4 times for values from the device, 2 of them for values that the plugin reads and 2 for checks of the plugin; each wait is a round trip in which the device is idle, and placement=host has none',
            ],
      );
    });
  }

  it("makes targets of its own there, which are those that it makes in Node", async () => {
    const { of } = await joined(await file("targets", groups(1)), "plugin");
    const host = await HostEdge.open(of, { dim: D, seed: 3, use: true });
    for (let step = 0; step < 3; step++) {
      const data = Float32Array.from(rows(step).flat());
      const found = await rank.take(step, rows(step));
      const { targets } = await host.step({ rows: { data, n: N, d: D } }, at(step));
      assert.equal(found.targets?.data.length, targets?.data.length);
      assert.ok(difference([...(found.targets?.data ?? [])], [...(targets?.data ?? [])]) < 1e-5);
    }
    host.dispose();
  });

  it("is saved whole with a step after which its rank leaves, though it reads one thing after the other", async () => {
    const { edge, room } = await joined(await file("saved", groups(0)));
    room.save = true;
    await rank.take(0, rows(0));
    const { prototypes } = await rank.take(1, rows(1));
    await rank.leave();
    const state = await room.saved.at(-1);
    assert.deepEqual(state?.["plugin.prototypes"]?.data, prototypes.data);
    assert.equal(state?.["plugin.sum"]?.data.length, 1);
    assert.equal(edge.placement, "device");
  });

  it("gets no step with a row that is not finite, which is refused at once", async () => {
    await joined(await file("row", groups(1)));
    await rank.take(0, rows(0));
    const bad = rows(1).map((row, i) => (i === 3 ? row.map(() => Number.NaN) : row));
    await assert.rejects(rank.take(1, bad), { code: "row", row: 3 });
    const { prototypes } = await rank.take(1, rows(1));
    await rank.leave();
    await server?.close();
    await joined(await file("row", groups(1)));
    await rank.take(0, rows(0));
    assert.deepEqual((await rank.take(1, rows(1))).prototypes, prototypes);
  });

  for (const [what, { source, says }] of Object.entries(mistakes)) {
    it(`that ${what} is reported in one sentence, with the operation and the line`, async () => {
      const path = await file(what.replaceAll(" ", "-"), source);
      await joined(path);
      await rank.take(0, rows(0));
      await assert.rejects(rank.take(1, rows(1)), (error) => {
        assert.ok(error instanceof Error);
        assert.match(error.message, says(path));
        assert.equal(error.message.split("\n").length, 1);
        return true;
      });
    });
  }
});
