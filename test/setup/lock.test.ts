import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { holderOf } from "../../src/files/lock.mjs";
import { packageRoot } from "../../src/files/paths.ts";
import { temporaryFolder } from "./folder.ts";

const moduleOf = (path: string) => pathToFileURL(join(packageRoot, path)).href;

/** A process that takes the lock, shares it with those whose IDs follow, says so, and holds it until its input ends. */
const HOLDER = `
const { takeLock } = await import(${JSON.stringify(moduleOf("bin/lock.mjs"))});
const { shareLock } = await import(${JSON.stringify(moduleOf("src/files/lock.mjs"))});
const [file, ...programs] = process.argv.slice(1);
const free = await takeLock(file);
for (const program of programs) shareLock(file, Number(program));
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

  const start = (...programs: string[]) => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", HOLDER, file(), ...programs], {
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
    assert.equal(holderOf(file()), second.pid);
  });

  it("is held by programs that outlive a killed set-up", async () => {
    const orphan = spawn("sleep", ["60"]);
    started.push(orphan);
    await once(orphan, "spawn");
    const setUp = start(String(orphan.pid));
    await once(setUp.stdout, "data");
    setUp.kill("SIGKILL");
    await once(setUp, "close");
    const next = start();
    const [said] = await once(next.stderr, "data");
    assert.match(String(said), new RegExp(`process ${orphan.pid}`));
    orphan.kill("SIGKILL");
    await once(next.stdout, "data");
  });
});
