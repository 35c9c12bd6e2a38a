import assert from "node:assert/strict";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";
import { temporaryFolder } from "./folder.ts";
import { mixhead, node } from "./mixhead.ts";

describe("mixhead in a clone", () => {
  const clone = temporaryFolder();
  const lock = (version: string) => ({
    packages: {
      "": { name: "mixhead" },
      "node_modules/a": { version },
      "node_modules/b": { version: "1.0.0", optional: true },
    },
  });

  beforeEach(async () => {
    await cp(join(packageRoot, "bin"), join(clone.path, "bin"), { recursive: true });
    for (const file of ["package.json", "src/files/lock.mjs"])
      await cp(join(packageRoot, file), join(clone.path, file), { recursive: true });
    await writeFile(join(clone.path, "package-lock.json"), JSON.stringify(lock("1.0.0")));
    await writeFile(join(clone.path, "register.mjs"), "");
    await mkdir(join(clone.path, "src", "cli"), { recursive: true });
  });

  const start = () => node([join(clone.path, "bin", "mixhead.mjs"), "doctor"]);
  const install = async (packages: object) => {
    await mkdir(join(clone.path, "node_modules"), { recursive: true });
    await writeFile(join(clone.path, "node_modules", ".package-lock.json"), JSON.stringify({ packages }));
  };

  it("says in one sentence that npm start sets up, if nothing is installed", async () => {
    const { status, out, err } = await start();
    assert.equal(status, 2);
    assert.equal(out, "");
    assert.match(err, /^mixhead: .*npm start.*\n$/);
  });

  it("says so if the packages are of an older lock, or were cut short", async () => {
    await install({ "node_modules/a": { version: "0.9.0" } });
    assert.equal((await start()).status, 2);
    await install({});
    assert.equal((await start()).status, 2);
    await mkdir(join(clone.path, "node_modules", "a"));
    await writeFile(join(clone.path, "node_modules", ".package-lock.json"), "");
    assert.equal((await start()).status, 2);
  });

  it("starts if the packages are those of the lock, with an optional one or without", async () => {
    const main = "export const main = async (args) => { console.log(args.join()); return 7; };";
    await writeFile(join(clone.path, "src", "cli", "main.mjs"), main);
    const program = join(clone.path, "bin", "mixhead.mjs");
    await writeFile(program, (await readFile(program, "utf8")).replace("main.ts", "main.mjs"));
    const a = { "node_modules/a": { version: "1.0.0" } };
    for (const packages of [a, { ...a, "node_modules/b": { version: "1.0.0", optional: true } }]) {
      await install(packages);
      assert.deepEqual(await start(), { status: 7, out: "doctor\n", err: "" });
    }
  });

  it("refuses a Node that is too old in one sentence", async () => {
    const manifest = JSON.parse(await readFile(join(clone.path, "package.json"), "utf8"));
    manifest.engines.node = ">=99.1";
    await writeFile(join(clone.path, "package.json"), JSON.stringify(manifest));
    for (const program of ["mixhead.mjs", "start.mjs", "test.mjs", "setup.mjs"]) {
      const { status, err } = await node([join(clone.path, "bin", program)]);
      assert.notEqual(status, 0);
      assert.match(err, /^.*mixhead needs Node 99\.1 or newer.*\n$/);
    }
  });
});

describe("mixhead", () => {
  const folder = temporaryFolder();

  it("works from any folder", async () => {
    const { status, out } = await mixhead(["--help"], { cwd: folder.path });
    assert.equal(status, 0);
    assert.match(out, /doctor/);
  });
});
