import assert from "node:assert/strict";
import { subscribe } from "node:diagnostics_channel";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openBackend } from "../../src/backend/backend.ts";
import { RunError } from "../../src/errors.ts";
import { openKeys } from "../../src/serve/keys.ts";
import { MixtureServer } from "../../src/serve/server.ts";
import { Status } from "../../src/serve/status.ts";
import type { Message } from "../bridge/decode.ts";
import { RawRank } from "../bridge/raw-rank.ts";

const K = 16;
const D = 4;
let generations = 0;

/** Rows of unit length that a number decides. */
function rows(seed: number, n = 6): number[][] {
  return Array.from({ length: n }, (_, i) => {
    const row = Array.from({ length: D }, (_, j) => Math.sin(seed * 31 + i * 7 + j * 3));
    const length = Math.hypot(...row);
    return row.map((x) => x / length);
  });
}

describe("a server of mixtures", () => {
  let folder: string;
  let server: MixtureServer;
  const ranks: RawRank[] = [];

  before(() => openBackend("wasm"));
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    await start();
  });
  afterEach(async () => {
    for (const rank of ranks.splice(0)) rank.close();
    await server.stop();
    await rm(folder, { recursive: true });
  });

  async function start(given: Record<string, unknown> = {}): Promise<void> {
    const settings = { given, source: "settings" };
    const stateDir = join(folder, "state");
    server = await MixtureServer.start({ settings, endpoint: "auto", deadline: 5, stateDir, log: () => {} });
  }

  async function join_(run: string, mixture = "default", config = ""): Promise<[RawRank, Message]> {
    const rank = new RawRank(server.endpoint, `g${generations++}`);
    ranks.push(rank);
    await rank.hello({ run, mixture, components: K, dim: D, config });
    return [rank, await rank.receive()];
  }

  /** Joins a run whose rank was lost, as soon as the server has heard of that. */
  async function comeBack(run: string, config = ""): Promise<Message> {
    for (;;) {
      const [, answer] = await join_(run, "default", config);
      if (answer.header.type !== "reject" || answer.header.code !== "busy") return answer;
      await sleep(50);
    }
  }

  async function step(rank: RawRank, step: number): Promise<Message> {
    await rank.embeddings(step, rows(step));
    return rank.receive();
  }

  it("keeps runs and mixtures apart, side by side", async () => {
    const [one, welcome] = await join_("a");
    const [two] = await join_("a", "other");
    const [three] = await join_("b");
    assert.deepEqual(welcome.tensors.prototypes?.shape, [K, D]);
    await step(one, 0);
    await step(one, 1);
    const late = await step(two, 0);
    const alone = await step(three, 0);
    assert.deepEqual(late.tensors.rows, alone.tensors.rows);
    assert.deepEqual(
      server.mixtures.map(({ title, steps }) => [title, steps]),
      [
        ['run "a"', 2],
        ['run "a", mixture "other"', 1],
        ['run "b"', 1],
      ],
    );
  });

  it("answers with prototypes and figures to log, and with targets only if a script asks for them", async () => {
    const [plain] = await join_("plain");
    const [asking] = await join_("asking", "default", '{"targets":{"by":"plugin"}}');
    const [making] = await join_("making", "default", '{"targets":{}}');
    const { header, tensors } = await step(plain, 0);
    assert.deepEqual(Object.keys(tensors), ["rows"]);
    assert.ok(header.type === "targets" && (header.scalars.used ?? 0) > 0 && "entropy" in header.scalars);
    const answer = await step(asking, 0);
    assert.deepEqual(Object.keys(answer.tensors), ["rows", "targets"]);
    assert.deepEqual(answer.tensors.rows, tensors.rows);
    const { header: own, tensors: without } = await step(making, 0);
    assert.deepEqual(Object.keys(without), ["rows"], "a rank makes those of similarities by itself");
    assert.equal(own.type === "targets" && own.scalars.targetTemperature, 0.04);
    while (server.mixtures[0]?.scalars["unique.0.5"] === undefined) {
      await sleep(10);
      await step(plain, server.mixtures[0]?.steps ?? 0);
    }
    const { used = 0, ...measured } = server.mixtures[0].scalars;
    const both = measured["distinctUsed.0.025"] ?? 0;
    assert.ok(both > 0 && both <= used, `${both} are used and distinct, ${used} used`);
    assert.ok(["0.1", "0.25", "0.5"].every((epsilon) => (measured[`distinctUsed.${epsilon}`] ?? 0) > 0));
  });

  it("keeps mixtures when it is stopped, and continues with them, bit for bit", async () => {
    const [unbroken] = await join_("unbroken");
    const [broken] = await join_("a/../b c");
    for (let at = 0; at < 3; at++) {
      await step(unbroken, at);
      await step(broken, at);
    }
    const expected = await step(unbroken, 3);
    await server.stop();
    assert.equal((await broken.receive()).header.type, "bye");
    assert.deepEqual((await readdir(join(folder, "state"))).sort(), [
      "a%2F..%2Fb%20c@default.safetensors",
      "unbroken@default.safetensors",
    ]);
    await start();
    const [again, { header }] = await join_("a/../b c");
    assert.ok(header.type === "welcome" && header.step === 3);
    const answer = await step(again, 3);
    assert.deepEqual(answer.tensors.rows, expected.tensors.rows);
  });

  it("reports that its socket failed, and still saves its mixtures", async () => {
    const [rank] = await join_("a");
    await step(rank, 0);
    server["bridge"]["socket"].close();
    assert.match((await server.failed).message, /^the socket at ipc:\S+ failed: it was closed$/);
    await server.stop();
    assert.deepEqual(await readdir(join(folder, "state")), ["a@default.safetensors"]);
  });

  it("prints the name of a run without the escapes in it", async () => {
    await join_("\u001b[2J\u202egone\n");
    assert.equal(server.mixtures[0]?.title, 'run "\\u001b[2J\\u202egone\\u000a"');
  });

  it("forgets a mixture whose rank is lost before its first step, or whose hello is refused", async () => {
    const [lost] = await join_("lost");
    lost.close();
    await join_("refused", "default", '{"plugin":{"cutoff":7}}');
    while (server.mixtures.length > 0) await sleep(10);
  });

  it("keeps a mixture whose name is too long for a file's, and continues with it", async () => {
    const name = "é".repeat(60);
    const [rank] = await join_(name, name);
    await step(rank, 0);
    await server.stop();
    await start();
    const [, { header }] = await join_(name, name);
    assert.ok(header.type === "welcome" && header.step === 1);
  });

  it("keeps the mixtures after one that cannot be kept, and names that one", async () => {
    const state = join(folder, "state");
    for (const run of ["a", "b"]) {
      const [rank] = await join_(run);
      await step(rank, 0);
    }
    await mkdir(join(state, "a@default.safetensors"), { recursive: true });
    await assert.rejects(server.stop(), (error) => {
      assert.ok(error instanceof RunError);
      assert.match(
        error.message,
        /^run "a" was not saved: cannot write .*a@default\.safetensors: it is a folder$/,
      );
      return true;
    });
    assert.ok((await readdir(state)).includes("b@default.safetensors"));
  });

  it("answers a step that is under way before it says goodbye", async () => {
    const slow = fileURLToPath(new URL("slow.ts", import.meta.url));
    await server.stop();
    await start({ plugin: { kind: slow } });
    const [rank] = await join_("a");
    const begun = new Promise((resolve) => subscribe("slow step", resolve));
    await rank.embeddings(0, rows(0));
    await begun;
    await server.stop();
    assert.equal((await rank.receive()).header.type, "targets");
    assert.equal((await rank.receive()).header.type, "bye");
    assert.deepEqual(await readdir(join(folder, "state")), ["a@default.safetensors"]);
  });

  it("imports no file that a hello names", async () => {
    const file = join(folder, "evil.ts");
    await writeFile(file, "process.env.MIXHEAD_TEST_EVIL = 'imported';\n");
    const [, { header }] = await join_("a", "default", JSON.stringify({ plugin: { kind: file } }));
    assert.ok(header.type === "reject");
    assert.match(
      header.message,
      /^run "a" asks for a plugin file: start the shared server with plugin\.kind=/,
    );
    assert.equal(process.env.MIXHEAD_TEST_EVIL, undefined);
  });

  it("forgets a run that says goodbye, and keeps one that is lost", async () => {
    const [leaving] = await join_("leaving");
    const [lost] = await join_("lost");
    await step(leaving, 0);
    await step(lost, 0);
    await leaving.send({ type: "bye", generation: leaving.generation, reason: "" });
    lost.close();
    while (server.mixtures.length > 1) await sleep(10);
    const [, fresh] = await join_("leaving");
    assert.ok(fresh.header.type === "welcome" && fresh.header.step === 0);
    const { header } = await comeBack("lost");
    assert.ok(header.type === "welcome" && header.step === 1);
  });

  it("lets a lost run rejoin with its own settings only", async () => {
    const config = (variance: number) => JSON.stringify({ plugin: { variance }, train: { steps: 9 } });
    const [lost] = await join_("lost", "default", config(0.5));
    await step(lost, 0);
    lost.close();
    const rejects = async (config: string, pattern: RegExp) => {
      const { header } = await comeBack("lost", config);
      assert.ok(header.type === "reject");
      assert.match(header.message, pattern);
    };
    await rejects(
      config(0.1),
      /^run "lost" began with other settings \(plugin\.variance is 0\.5 there, 0\.1 here\): ask for the same/,
    );
    await rejects('{"train":{"steps":9}}', /\(plugin\.variance is 0\.5 there, 0\.02 here\)/);
    await rejects('{"targets":{}}', /\(the run has no targets, this script asks for them\)/);
    await rejects('{"plugin":{"cutoff":7}}', /^settings: plugin\.cutoff is 7; allowed: /);
    for (const same of ["", "{}", config(0.5)]) {
      const { header } = await comeBack("lost", same);
      assert.ok(header.type === "welcome" && header.step === 1);
      ranks.pop()?.close();
    }
  });

  it("lets a run continue only with the secret that it began with, also from a saved state", async () => {
    const first = new RawRank(server.endpoint, `g${generations++}`);
    ranks.push(first);
    await first.hello({ run: "mine", components: K, dim: D, secret: "s" });
    assert.equal((await first.receive()).header.type, "welcome");
    await step(first, 0);
    const strangerIsRefused = async () => {
      for (const secret of ["", "t"]) {
        const stranger = new RawRank(server.endpoint, `g${generations++}`);
        ranks.push(stranger);
        await stranger.hello({ run: "mine", secret });
        const { header } = await stranger.receive();
        assert.ok(header.type === "reject" && header.code === "secret", JSON.stringify(header));
        assert.match(header.message, /^run "mine" began with a secret that this client does not have/);
        await stranger.send({ type: "bye", generation: stranger.generation, reason: "" });
      }
    };
    await strangerIsRefused(); // while the run's rank is there
    await server.stop();
    const [kept = ""] = await readdir(join(folder, "state"));
    assert.ok(!(await readFile(join(folder, "state", kept), "latin1")).includes('"s"'));
    await start();
    await strangerIsRefused(); // before the run is opened again
    const again = new RawRank(server.endpoint, `g${generations++}`);
    ranks.push(again);
    await again.hello({ run: "mine", components: K, dim: D, secret: "s" });
    const { header } = await again.receive();
    assert.ok(header.type === "welcome" && header.step === 1);
    again.close();
    await sleep(100);
    await strangerIsRefused(); // while it waits for its rank
  });

  it("serves a client of version 2, in that version's words", async () => {
    const older = async (run: string) => {
      const rank = new RawRank(server.endpoint, `g${generations++}`);
      ranks.push(rank);
      await rank.hello({ run, components: K, dim: D, version: 2 });
      return [rank, (await rank.receive()).header] as const;
    };
    const [, welcome] = await older("old");
    assert.ok(welcome.type === "welcome" && welcome.version === 2 && !("capabilities" in welcome));
    const newer = new RawRank(server.endpoint, `g${generations++}`);
    ranks.push(newer);
    await newer.hello({
      run: "new",
      components: K,
      dim: D,
      version: 9,
      oldest: 2,
      secret: "s",
      capabilities: ["x"],
    });
    const { header: agreed } = await newer.receive();
    assert.ok(agreed.type === "welcome" && agreed.version === 3);
    assert.deepEqual(agreed.capabilities, []);
    const [, refused] = await older("new");
    assert.ok(refused.type === "reject" && refused.code === "unknown");
  });

  it("sends sparse targets to those who can read them", async () => {
    const config = '{"targets":{"by":"plugin","temperature":0.001}}';
    for (const capabilities of [[], ["sparse"]]) {
      const rank = new RawRank(server.endpoint, `g${generations++}`);
      ranks.push(rank);
      await rank.hello({
        run: String(capabilities),
        components: K,
        dim: D,
        config,
        version: 3,
        capabilities,
      });
      await rank.receive();
      const { tensors } = await step(rank, 0);
      assert.equal("targets.offsets" in tensors, capabilities.length > 0);
      assert.equal("targets" in tensors, capabilities.length === 0);
    }
  });

  it("deletes the saved state of a run that then says goodbye", async () => {
    const [first] = await join_("mine");
    await step(first, 0);
    await server.stop();
    await start();
    const [second, { header }] = await join_("mine");
    assert.ok(header.type === "welcome" && header.step === 1);
    await step(second, 1);
    await second.send({ type: "bye", generation: second.generation, reason: "" });
    while (server.mixtures.length > 0) await sleep(10);
    const [, next] = await join_("mine");
    assert.ok(next.header.type === "welcome" && next.header.step === 0);
    assert.deepEqual(await readdir(join(folder, "state")), []);
  });

  it("starts over from prototypes alone, and refuses a state that does not fit", async () => {
    const [rank] = await join_("a");
    await step(rank, 0);
    const { generation } = rank;
    const load = (n: number) => {
      const data = Float32Array.from({ length: n * D }, (_, i) => (i % D === 0 ? 1 : 0));
      const tensors = { prototypes: { dtype: "float32" as const, shape: [n, D], data } };
      return rank.send({ type: "load", generation, step: 0 }, tensors);
    };
    await load(3);
    const refused = await rank.receive();
    assert.ok(refused.header.type === "reject" && refused.header.code === "state");
    assert.match(refused.header.message, /a start of 3 x 4 prototypes does not fit a mixture of 16 x 4/);
    await load(K);
    const { header, tensors } = await rank.receive();
    assert.ok(header.type === "welcome" && header.step === 0);
    assert.deepEqual([...(tensors.prototypes?.data.slice(0, 5) ?? [])], [1, 0, 0, 0, 1]);
    assert.equal((await step(rank, 0)).header.type, "targets");
  });

  it("refuses a start if the run has begun from another, and names that are too long", async () => {
    const [rank] = await join_("a");
    await step(rank, 0);
    rank.close();
    const data = new Float32Array(K * D).fill(1);
    const other = new RawRank(server.endpoint, "other");
    ranks.push(other);
    let answer: Message;
    do {
      await sleep(50);
      const header = { type: "hello", version: 2, run: "a", mixture: "default", rank: 0, world: 1 } as const;
      await other.send(
        {
          ...header,
          components: K,
          dim: D,
          generation: "other",
          start: "hash",
          config: "",
          executor: 0,
          device: "",
        },
        { prototypes: { dtype: "float32", shape: [K, D], data } },
      );
      answer = await other.receive();
    } while (answer.header.type === "reject" && answer.header.code === "busy");
    assert.ok(answer.header.type === "reject" && answer.header.code === "state");
    assert.match(answer.header.message, /began from other prototypes and has taken 1 steps/);
    const [, long] = await join_("x".repeat(61));
    assert.ok(long.header.type === "reject");
    assert.match(long.header.message, /at most 60 characters/);
  });

  it("reports the speed of the mixtures that take steps", async () => {
    const status = new Status();
    const [rank] = await join_("a");
    await join_("idle");
    assert.deepEqual(status.lines(server.mixtures, 0), []);
    await step(rank, 0);
    await step(rank, 1);
    const [line, ...more] = status.lines(server.mixtures, 500);
    assert.deepEqual(more, []);
    assert.match(
      line ?? "",
      /^run "a": step 2, 4\.0 steps\/s, used 0\.\d\d, unique \.5 \S+, distinctUsed \.5 \S+$/,
    );
  });
});

describe("the keys of a server", () => {
  it("are made once, readable by this user only, and refused if they are damaged", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    const keys = await openKeys(join(folder, "keys"));
    const { serverKeys, allowedClients } = await openKeys(join(folder, "keys"));
    assert.deepEqual(serverKeys, keys.serverKeys);
    assert.deepEqual(allowedClients, keys.allowedClients);
    assert.equal(keys.serverKeys.secretKey.length, 40);
    for (const name of ["server.json", "client.json"]) {
      assert.equal((await stat(join(folder, "keys", name))).mode & 0o777, 0o600);
    }
    await rm(join(folder, "keys", "server.json"));
    await writeFile(join(folder, "keys", "server.json"), "{}");
    await assert.rejects(openKeys(join(folder, "keys")), /server\.json does not hold valid keys/);
    await rm(folder, { recursive: true });
  });
});
