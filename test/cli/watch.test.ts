import assert from "node:assert/strict";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";
import { InventedRun } from "../live/invented-run.ts";
import { CommandLine, mixhead, tiny } from "./command.ts";

describe("mixhead watch", () => {
  let invented: InventedRun;
  beforeEach(async () => {
    invented = await InventedRun.create(["joint"]);
  });
  afterEach(() => invented.remove());

  it("prints the page's address, and ends at once on Ctrl-C, even with an open page", async () => {
    const watch = new CommandLine(process.cwd(), ["watch", "demo"]);
    await watch.says(/watching/);
    const url = watch.stdout.trim();
    const events = await fetch(`${url}events`);
    watch.process.kill("SIGINT");
    assert.equal((await watch.finished).status, 0);
    await events.body?.cancel().catch(() => {});
  });

  it("refuses a name that is not a run, and an invalid port, in one sentence", async () => {
    const unknown = await mixhead(process.cwd(), "watch", "nothing");
    assert.deepEqual(
      [unknown.status, unknown.stderr],
      [2, "mixhead: runs/nothing is not a run: it has no config.yaml\n"],
    );
    const port = await mixhead(process.cwd(), "watch", "demo", "--port", "0x");
    assert.equal(port.status, 2);
    assert.match(port.stderr, /a whole number from 1 to 65535/);
  });

  it("serves the page of a training with --live, and ends with it", async () => {
    const config = join(packageRoot, "configs", "demo", "decoupled.yaml");
    const train = new CommandLine(process.cwd(), ["train", config, ...tiny, "--name", "seen", "--live"]);
    await train.says(/the live page: http/);
    const [, url = ""] = /the live page: (\S+)/.exec(train.stderr) ?? [];
    assert.match(await (await fetch(url)).text(), /<h1>seen<\/h1>/);
    assert.equal((await train.finished).status, 0);
    await assert.rejects(fetch(url));
  });
});
