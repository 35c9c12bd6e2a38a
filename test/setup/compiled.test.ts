import assert from "node:assert/strict";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";
import { node } from "./mixhead.ts";

/** Within the clone: only its own sources are kept compiled. */
const folder = join(packageRoot, "build", "compiled-test");
const kept = join(packageRoot, ".cache", "compiled", relative(packageRoot, folder));
const file = join(folder, "program.ts");

describe("the sources, compiled once", () => {
  beforeEach(() => mkdir(folder, { recursive: true }));
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
    await rm(kept, { recursive: true, force: true });
  });

  const run = () => node(["--import", join(packageRoot, "register.mjs"), file]);

  it("run as the file is now, and keep one compiled copy of it", async () => {
    for (const word of ["first", "second", "second"]) {
      await writeFile(file, `const word: string = "${word}";\nconsole.log(word);\n`);
      assert.equal((await run()).out, `${word}\n`);
    }
    assert.deepEqual(await readdir(kept), ["program.ts.mjs"]);
  });

  it("name the line of the source in an error, freshly compiled or kept", async () => {
    await writeFile(file, `interface Unused {\n  a: string;\n}\n\nthrow new Error("here");\n`);
    for (let time = 0; time < 2; time++) {
      const { status, err } = await run();
      assert.equal(status, 1);
      assert.match(err, /program\.ts:5\b/);
    }
  });

  it("are compiled again if the kept file was cut short", async () => {
    await writeFile(file, `console.log("whole");\n`);
    await run();
    await writeFile(join(kept, "program.ts.mjs"), "console.log(");
    assert.equal((await run()).out, "whole\n");
  });
});
