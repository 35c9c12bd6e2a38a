import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../../src/files/paths.ts";
import { temporaryFolder } from "../setup/folder.ts";

/** Takes the lock as soon as its input has a line, says how that went, and holds it until its input ends. */
const TRAINER = `
const { lockRun } = await import(process.argv[1]);
console.log("ready");
await new Promise((resolve) => process.stdin.once("data", resolve));
const free = await lockRun(process.argv[2]).catch((error) => { console.log(error.message); });
if (free) console.log("taken");
await new Promise((resolve) => process.stdin.on("end", resolve).resume());
await free?.();
`;

describe("the lock of a run", () => {
  const folder = temporaryFolder();

  it("has one holder if several processes find a dead process's lock at once", async () => {
    const dead = spawn("true");
    await once(dead, "close");
    await writeFile(join(folder.path, "lock"), `${dead.pid}`);
    const module = pathToFileURL(join(packageRoot, "src/experiment/lock.ts")).href;
    const register = join(packageRoot, "register.mjs");
    const all = Array.from({ length: 4 }, () =>
      spawn(process.execPath, [
        "--import",
        register,
        "--input-type=module",
        "-e",
        TRAINER,
        module,
        folder.path,
      ]),
    );
    await Promise.all(all.map(({ stdout }) => once(stdout, "data")));
    for (const { stdin } of all) stdin.write("go\n");
    const said = await Promise.all(all.map(async ({ stdout }) => String(await once(stdout, "data")).trim()));
    assert.equal(said.filter((line) => line === "taken").length, 1);
    const holder = all[said.indexOf("taken")]?.pid;
    for (const line of said.filter((line) => line !== "taken"))
      assert.match(line, new RegExp(`is being trained by process ${holder};`));
    for (const { stdin } of all) stdin.end();
    await Promise.all(all.map((child) => child.exitCode ?? once(child, "close")));
    assert.deepEqual(await readdir(folder.path), []);
  });
});
