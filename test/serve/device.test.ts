import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBackend } from "../../src/backend/backend.ts";
import { MixtureServer } from "../../src/serve/server.ts";
import { RawRank } from "../bridge/raw-rank.ts";
import { DeviceRank } from "../mixture/device-rank.ts";
import { bits, clusteredRows, difference } from "../plugins/support.ts";

const [N, K, D] = [24, 12, 8];
const rows = (step: number) => clusteredRows(N, D, step);
const settings = { plugin: { covariance: "diagonal", weights: "estimated", floor: 1e-3 } };
const asked = JSON.stringify({ placement: "device", targets: { from: "responsibility", balance: "center" } });

describe("a server of mixtures on the ranks' devices", function () {
  this.timeout(60_000);
  let folder: string;
  let server: MixtureServer;
  let rank: DeviceRank;
  let said: string[];

  before(async () => {
    await openBackend("wasm");
    rank = await DeviceRank.start();
  });
  after(() => rank.kill());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    await start();
  });
  afterEach(async () => {
    await rank.leave();
    await server.stop();
    await rm(folder, { recursive: true });
  });

  async function start(given: object = settings, deadline = 10): Promise<void> {
    said = [];
    server = await MixtureServer.start({
      settings: { given: { ...given }, source: "settings" },
      endpoint: "auto",
      deadline,
      stateDir: join(folder, "state"),
      log: (line) => void said.push(line),
    });
  }

  const joined = (run: string, config = asked) =>
    rank.join(server.endpoint, { run, components: K, dim: D, config });

  it("answers like one in Node, to rounding, and reports the placement", async () => {
    await joined("there");
    assert.deepEqual(said, [
      "The mixture is computed by PyTorch, where the embeddings are (placement device: as configured).",
      'run "there" begins: 12 components of dimension 8',
    ]);
    const host = new RawRank(server.endpoint, "host");
    const config = asked.replace("device", "host");
    await host.hello({ run: "here", components: K, dim: D, config });
    await host.receive();
    for (let step = 0; step < 6; step++) {
      const found = await rank.take(step, rows(step));
      await host.embeddings(step, rows(step));
      const { tensors } = await host.receive();
      assert.ok(difference([...found.prototypes.data], [...(tensors.rows?.data ?? [])]) < 1e-4);
      assert.ok(difference([...(found.targets?.data ?? [])], [...(tensors.targets?.data ?? [])]) < 1e-4);
    }
    const [there, here] = server.mixtures;
    assert.ok(Math.abs((there?.scalars.used ?? 0) - (here?.scalars.used ?? 1)) < 0.2, "one step apart");
    host.close();
  });

  it("measures unique and distinctUsed between the steps", async () => {
    await joined("measured");
    const { scalars } = server.mixtures[0] ?? {};
    assert.equal(scalars?.["unique.0.5"], undefined);
    let step = 0;
    while (server.mixtures[0]?.scalars["unique.0.5"] === undefined) await rank.take(step, rows(step++));
    const { used = 0, "distinctUsed.0.025": both = 0 } = server.mixtures[0].scalars;
    assert.ok(both > 0 && both <= used, `${both} are used and distinct, ${used} used`);
  });

  it("gives the whole state to a script that saves, which continues with it bit for bit", async () => {
    await joined("one");
    for (const step of [0, 1, 2]) await rank.take(step, rows(step));
    const { step, state } = await rank.state();
    assert.equal(step, 3);
    const next = await rank.take(3, rows(3));
    const then = await rank.state();
    await rank.leave();
    await joined("two");
    const welcome = await rank.load(step, state);
    assert.deepEqual(
      bits({ c: welcome.prototypes }),
      bits({ c: state["plugin.prototypes"] ?? welcome.prototypes }),
    );
    assert.deepEqual((await rank.take(3, rows(3))).prototypes, next.prototypes);
    assert.deepEqual(bits((await rank.state()).state), bits(then.state));
  });

  it("reports a bad row with the answer to the next step", async () => {
    await joined("bad");
    await rank.take(0, rows(0));
    const spoiled = rows(1).map((row, i) => (i === 5 ? row.map(() => Number.NaN) : row));
    const { scalars } = await rank.take(1, spoiled);
    assert.deepEqual([scalars.badStep, scalars.badRow], [undefined, undefined]);
    const { scalars: later } = await rank.take(2, rows(2));
    assert.deepEqual([later.badStep, later.badRow], [1, 5]);
    assert.equal((await rank.take(3, rows(3))).scalars.badStep, undefined);
  });

  it("saves the state that a rank reads for it as it stops, and names a rank that did not answer", async () => {
    await joined("kept");
    for (const step of [0, 1]) await rank.take(step, rows(step));
    const stopping = server.stop();
    await assert.rejects(rank.take(2, rows(2)), /the server was stopped/);
    await stopping;
    assert.match(said.at(-1) ?? "", /run "kept" is saved at step 2/);

    await start(settings, 1);
    assert.equal((await joined("kept")).step, 2);
    await rank.take(2, rows(2));
    await assert.rejects(server.stop(), /run "kept" was not saved: its rank did not answer within 1 s/);
    await rank.leave();
    await start();
  });

  it("saves nothing for a rank that says goodbye as the server stops", async () => {
    await joined("over");
    await rank.take(0, rows(0));
    const stopping = server.stop();
    await rank.leave();
    await stopping;
    assert.match(said.at(-1) ?? "", /run "over" has ended after 1 steps/);
    await start();
  });

  it("forgets a mixture whose last rank is lost, and the run starts over", async () => {
    await joined("lost");
    await rank.take(0, rows(0));
    await rank.kill();
    rank = await DeviceRank.start();
    while (server.mixtures.length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.match(said.at(-1) ?? "", /run "lost" has ended after 1 steps/);
    assert.equal((await joined("lost")).step, 0);
  });

  it("rejects a rank whose mixture exceeds its memory limit, or that cannot compute it", async () => {
    await server.stop();
    await start({ ...settings, bridge: { deviceMemory: 1e-7 } });
    await assert.rejects(joined("large"), /does not admit it: .* would take .* of the device's memory/);
    const host = new RawRank(server.endpoint, "host");
    await host.hello({ run: "none", components: K, dim: D, config: asked });
    const { header } = await host.receive();
    assert.ok(header.type === "reject" && header.code === "version");
    assert.match(header.message, /the rank has none: .* or use placement=host/);
    host.close();
    assert.deepEqual(server.mixtures, []);
  });
});
