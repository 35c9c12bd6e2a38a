import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { makeTemporaryFolder } from "../../src/files/temporary.ts";

describe("a temporary folder", () => {
  let own: string;
  const before = process.env.TMPDIR;
  beforeEach(async () => {
    own = await mkdtemp(join(tmpdir(), "mixhead-test-"));
  });
  afterEach(async () => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    await rm(own, { recursive: true });
  });

  async function madeIn(longest?: number): Promise<string> {
    const folder = await makeTemporaryFolder("mixhead-", longest);
    assert.equal((await stat(folder)).mode & 0o777, 0o700);
    await rm(folder, { recursive: true });
    return dirname(folder);
  }

  it("is made in TMPDIR", async () => {
    process.env.TMPDIR = own;
    assert.equal(await madeIn(), own);
    assert.equal(await madeIn(own.length + "/mixhead-123456".length), own);
  });

  it("is made in /tmp if TMPDIR does not exist or is too long", async () => {
    process.env.TMPDIR = join(own, "missing");
    assert.equal(await madeIn(), "/tmp");
    process.env.TMPDIR = own;
    assert.equal(await madeIn(own.length + "/mixhead-12345".length), "/tmp");
  });

  it("is a sentence if no path is short enough", async () => {
    await assert.rejects(makeTemporaryFolder("mixhead-", 10), { name: "UserError", message: /set TMPDIR/ });
  });
});
