import assert from "node:assert/strict";
import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tail } from "../../src/live/tail.ts";

describe("following a file", () => {
  let folder: string;
  let path: string;
  let tail: Tail;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-tail-"));
    path = join(folder, "metrics.jsonl");
    tail = new Tail(path);
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("finds nothing while there is no file, then every line written to it", async () => {
    assert.deepEqual(await tail.look(), { restarted: false, lines: [] });
    await writeFile(path, "a\nb\n");
    assert.deepEqual(await tail.look(), { restarted: false, lines: ["a", "b"] });
    assert.deepEqual(await tail.look(), { restarted: false, lines: [] });
    await appendFile(path, "c\n");
    assert.deepEqual(await tail.look(), { restarted: false, lines: ["c"] });
  });

  it("waits for the end of a line, also within a character", async () => {
    const bytes = Buffer.from("größe\n");
    await writeFile(path, bytes.subarray(0, 3));
    assert.deepEqual((await tail.look()).lines, []);
    await appendFile(path, bytes.subarray(3));
    assert.deepEqual((await tail.look()).lines, ["größe"]);
  });

  it("starts again if a resumed run has cut the file", async () => {
    await writeFile(path, "a\nb\nc\n");
    await tail.look();
    await truncate(path, 2);
    assert.deepEqual(await tail.look(), { restarted: true, lines: ["a"] });
  });

  it("starts again if the file was cut and has grown beyond its old length in between", async () => {
    await writeFile(path, "a\nb\n");
    await tail.look();
    await writeFile(path, "a\nB\nC\nD\n");
    assert.deepEqual(await tail.look(), { restarted: true, lines: ["a", "B", "C", "D"] });
  });

  it("starts again if the file was replaced, and if it is missing", async () => {
    await writeFile(path, "a\n");
    await tail.look();
    await writeFile(join(folder, "new"), "x\ny\n");
    await rename(join(folder, "new"), path);
    assert.deepEqual(await tail.look(), { restarted: true, lines: ["x", "y"] });
    await rm(path);
    assert.deepEqual(await tail.look(), { restarted: true, lines: [] });
    assert.deepEqual(await tail.look(), { restarted: false, lines: [] });
  });

  it("compares the end of the text that it has read, however long that is", async () => {
    const line = "x".repeat(1000);
    await writeFile(path, `${line}\n`);
    await tail.look();
    await appendFile(path, "a\n");
    assert.deepEqual(await tail.look(), { restarted: false, lines: ["a"] });
  });
});
