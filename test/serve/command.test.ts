import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { RawRank } from "../bridge/raw-rank.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const PLUGIN = ["--import", join(root, "register.mjs"), join(root, "src/cli/plugin.ts"), "serve"];

describe("mixhead serve", () => {
  let folder: string;
  let serving: ChildProcessWithoutNullStreams | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  afterEach(async () => {
    serving?.kill("SIGKILL");
    await rm(folder, { recursive: true });
  });

  function start(...args: string[]): ChildProcessWithoutNullStreams {
    const child = spawn(process.execPath, [...PLUGIN, ...args], {
      cwd: folder,
      stdio: ["pipe", "pipe", "pipe"],
    });
    serving = child;
    return child;
  }

  async function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
    const [chunk] = await once(stream, "data");
    return String(chunk);
  }

  it("ends only with its owner if it is owned, whatever signals arrive", async () => {
    const owned = start("--owned", "--json", "backend=wasm");
    await firstLine(owned.stdout);
    for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGUSR2"] as const) owned.kill(signal);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.deepEqual([owned.exitCode, owned.signalCode], [null, null]);
    owned.stdin.end();
    const [ended, said] = await Promise.all([once(owned, "exit"), text(owned.stderr)]);
    assert.deepEqual(ended, [0, null]);
    assert.doesNotMatch(said, /Debugger listening/);
  });

  it("ends at once if it cannot start, though its owner is alive", async () => {
    const owned = start("--owned", "--json", "backend=wasm", "--endpoint", "ipc:///proc/nobody");
    const [[status], said] = await Promise.all([once(owned, "exit"), text(owned.stderr)]);
    assert.equal(status, 2);
    assert.match(said, /^mixhead: cannot listen on ipc:\/\/\/proc\/nobody: .*\n$/);
  });

  it("says who can reach it over TCP without keys", async () => {
    const open = start("--endpoint", "tcp://127.0.0.1:*", "backend=wasm");
    while (
      !(await firstLine(open.stderr)).includes("every user of this machine can connect to this server")
    ) {}
    open.kill("SIGTERM");
    const guarded = start("--endpoint", "tcp://127.0.0.1:*", "--keys", "keys", "backend=wasm");
    const said = text(guarded.stderr);
    await firstLine(guarded.stdout);
    guarded.kill("SIGTERM");
    assert.doesNotMatch(await said, /every user/);
  });

  it("prints its endpoint, saves its mixtures on SIGTERM, and continues with them", async () => {
    const first = start("--json", "--state", "kept", "backend=wasm", "plugin.components=16");
    const { endpoint } = JSON.parse(await firstLine(first.stdout));
    const rank = new RawRank(endpoint, "one");
    await rank.hello({ run: "r", components: 16, dim: 2 });
    await rank.receive();
    await rank.embeddings(0, [[1, 0]]);
    assert.equal((await rank.receive()).header.type, "targets");
    first.kill("SIGTERM");
    assert.equal((await rank.receive()).header.type, "bye");
    rank.close();
    const [status] = await once(first, "exit");
    assert.equal(status, 0);
    assert.deepEqual(await readdir(join(folder, "kept")), ["r@default.safetensors"]);

    const second = start("--state", "kept", "backend=wasm");
    const said = await firstLine(second.stdout);
    assert.match(
      said,
      /^listening on ipc:.*\nmixtures are saved to kept when the server stops\nfor scripts: MIXHEAD_ENDPOINT=ipc:/,
    );
    const again = new RawRank(/MIXHEAD_ENDPOINT=(\S+)/.exec(said)?.[1] ?? "", "two");
    await again.hello({ run: "r", components: 16, dim: 2 });
    const { header } = await again.receive();
    assert.ok(header.type === "welcome" && header.step === 1);
    again.close();
  });

  it("ends with 2 and a sentence if it cannot serve", async () => {
    const ends = async (pattern: RegExp, ...args: string[]) => {
      const child = start(...args);
      const [[status], said] = await Promise.all([once(child, "exit"), text(child.stderr)]);
      assert.equal(status, 2);
      assert.match(said, pattern);
    };
    await writeFile(join(folder, "bad.yaml"), "plugin: {components: -1}\n");
    await ends(/^mixhead: bad\.yaml: plugin\.components is -1/, "bad.yaml", "backend=wasm");
    await ends(
      /can be reached from other machines: give keys/,
      "--endpoint",
      "tcp://0.0.0.0:0",
      "backend=wasm",
    );
  });

  it("keeps its mixtures before it ends for an error that nobody awaits", async () => {
    await writeFile(
      join(folder, "mine.ts"),
      `import { directions, tf } from "mixhead";
       export default ({ components, dim, seed }) => {
         const c = directions(components, dim, seed, "mine");
         const saved = async () => ({ prototypes: { shape: [components, dim], data: await c.data() } });
         return {
           name: "mine", components, dim,
           async step(h) {
             setTimeout(() => { throw new Error("no such luck"); }, 300);
             return { responsibilities: tf.softmax(tf.matMul(h, c, false, true)), touched: "all", scalars: {} };
           },
           prototypes: () => c, parameters: saved, state: saved, load() {}, dispose() {},
         };
       };`,
    );
    const child = start("--json", "--state", "kept", "backend=wasm", "plugin.kind=./mine.ts");
    const { endpoint } = JSON.parse(await firstLine(child.stdout));
    const rank = new RawRank(endpoint, "one");
    await rank.hello({ run: "r", components: 16, dim: 2 });
    await rank.receive();
    await rank.embeddings(0, [[1, 0]]);
    const [[status], said] = await Promise.all([once(child, "exit"), text(child.stderr)]);
    rank.close();
    assert.equal(status, 1);
    assert.match(said, /^mixhead: no such luck$/m);
    assert.deepEqual(await readdir(join(folder, "kept")), ["r@default.safetensors"]);
  });

  it("ends with 1 and a sentence if it cannot keep a mixture", async () => {
    await writeFile(join(folder, "kept"), "no folder");
    const child = start("--json", "--state", "kept", "backend=wasm");
    const { endpoint } = JSON.parse(await firstLine(child.stdout));
    const rank = new RawRank(endpoint, "one");
    await rank.hello({ run: "r", components: 16, dim: 2 });
    await rank.receive();
    await rank.embeddings(0, [[1, 0]]);
    await rank.receive();
    child.kill("SIGTERM");
    const [[status], said] = await Promise.all([once(child, "exit"), text(child.stderr)]);
    rank.close();
    assert.equal(status, 1);
    assert.match(
      said,
      /^mixhead: run "r" was not saved: cannot write kept\/r@default\.safetensors: a part of/m,
    );
  });

  it("runs its owner's plugin, ends when its owner closes the pipe, and saves nothing", async () => {
    const child = start("--owned", "--json", "backend=wasm");
    const { endpoint } = JSON.parse(await firstLine(child.stdout));
    const rank = new RawRank(endpoint, "one");
    const kind = join(root, "test/serve/slow.ts");
    await rank.hello({ run: "r", components: 16, dim: 2, config: JSON.stringify({ plugin: { kind } }) });
    assert.equal((await rank.receive()).header.type, "welcome");
    rank.close();
    child.stdin.end();
    const [status] = await once(child, "exit");
    assert.equal(status, 0);
    assert.deepEqual(await readdir(folder), []);
  });
});
