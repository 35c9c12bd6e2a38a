import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../../src/files/paths.ts";
import { temporaryFolder } from "./folder.ts";

/** A process that takes the lock, says so, and holds it until its input ends. */
const HOLDER = `
const { takeLock } = await import(process.argv[1]);
const free = await takeLock(process.argv[2]);
console.log("taken");
await new Promise((resolve) => process.stdin.on("end", resolve).resume());
free();
`;

describe("the lock of set-up", () => {
  const folder = temporaryFolder();
  const file = () => join(folder.path, "setup.lock");
  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill("SIGKILL");
  });

  const start = () => {
    const module = pathToFileURL(join(packageRoot, "bin", "lock.mjs")).href;
    const child = spawn(process.execPath, ["--input-type=module", "-e", HOLDER, module, file()], {
      env: { ...process.env, NODE_OPTIONS: "" },
    });
    started.push(child);
    return child;
  };

  it("makes a second set-up wait until the first is done, with a message", async () => {
    const first = start();
    await once(first.stdout, "data");
    const second = start();
    let taken = false;
    const takes = once(second.stdout, "data").then(() => {
      taken = true;
    });
    const [said] = await once(second.stderr, "data");
    assert.match(String(said), new RegExp(`under way \\(process ${first.pid}\\)`));
    assert.equal(taken, false);
    first.stdin.end();
    await takes;
    second.stdin.end();
    await once(second, "close");
    assert.equal(existsSync(file()), false);
  });

  it("passes to the next process if its holder was killed", async () => {
    const first = start();
    await once(first.stdout, "data");
    first.kill("SIGKILL");
    await once(first, "close");
    assert.equal(existsSync(file()), true);
    const second = start();
    await once(second.stdout, "data");
    assert.equal((await readFile(file(), "utf8")).trim(), String(second.pid));
  });

  it("is held by programs that outlive a killed set-up", async () => {
    const orphan = spawn("sleep", ["60"]);
    started.push(orphan);
    await once(orphan, "spawn");
    const dead = spawn("true");
    await once(dead, "close");
    await writeFile(file(), `${dead.pid} ${orphan.pid} `);
    const next = start();
    const [said] = await once(next.stderr, "data");
    assert.match(String(said), new RegExp(`process ${orphan.pid}`));
    orphan.kill("SIGKILL");
    await once(next.stdout, "data");
  });

  it("has one holder if many processes find a dead process's lock at once", async () => {
    const dead = spawn("true");
    await once(dead, "close");
    await writeFile(file(), `${dead.pid} `);
    const all = Array.from({ length: 4 }, start);
    for (let turn = 0; turn < all.length; turn++) {
      const holder = await Promise.race(
        all
          .filter((child) => child.exitCode === null)
          .map((child) => once(child.stdout, "data").then(() => child)),
      );
      assert.equal((await readFile(file(), "utf8")).trim(), String(holder.pid));
      holder.stdin.end();
      await once(holder, "close");
    }
  });
});
