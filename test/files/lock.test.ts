import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../../src/files/paths.ts";
import { temporaryFolder } from "../setup/folder.ts";

const ROUNDS = 1000;

/** A round every two milliseconds: all processes try to take the round's lock at once, and say which they got. */
const RACER = `
const { tryLock } = await import(process.argv[1]);
const folder = process.argv[2];
console.log("ready");
const start = Number(await new Promise((resolve) => process.stdin.once("data", resolve)));
const taken = [];
for (let round = 0; round < ${ROUNDS}; round++) {
  while (Date.now() < start + 2 * round);
  if (tryLock(folder + "/" + round)) taken.push(round);
}
console.log(taken.join(" "));
process.stdin.resume(); // it is alive until all are done
`;

describe("a lock file", () => {
  const folder = temporaryFolder();
  const started: ChildProcess[] = [];
  const said = async (child: ChildProcess) => {
    const [text] = await Promise.race([once(child.stdout ?? assert.fail(), "data"), once(child, "close")]);
    return String(text);
  };
  afterEach(() => {
    for (const child of started.splice(0)) child.kill("SIGKILL");
  });

  it("has one holder if several processes find a dead process's lock at once", async () => {
    const dead = spawn("true");
    await once(dead, "close");
    for (let round = 0; round < ROUNDS; round++)
      await writeFile(join(folder.path, String(round)), `${dead.pid} 1\n`);
    const module = pathToFileURL(join(packageRoot, "src/files/lock.mjs")).href;
    const racers = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ["--input-type=module", "-e", RACER, module, folder.path]),
    );
    started.push(...racers);
    await Promise.all(racers.map(said));
    const results = racers.map(said);
    for (const { stdin } of racers) stdin.write(`${Date.now() + 20}\n`);
    const taken = (await Promise.all(results)).join(" ").trim().split(/\s+/).map(Number);
    const rounds = Array.from({ length: ROUNDS }, (_, round) => round);
    const wrong = rounds.filter((round) => taken.filter((one) => one === round).length !== 1);
    assert.deepEqual(wrong, [], "rounds whose lock nobody or several took");
    assert.equal((await readdir(folder.path)).length, ROUNDS, "nothing else is left");
  });
});
