import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { packageRoot } from "../../src/files/paths.ts";
import { duration } from "../../src/setup/progress.ts";
import { answers, CommandFailed, run } from "../../src/setup/shell.ts";
import { node } from "./mixhead.ts";

describe("a program that set-up runs", () => {
  it("gives its output, or an error with the last lines that it wrote", async () => {
    assert.equal(await run("sh", ["-c", "echo out; echo noise >&2"]), "out\n");
    await assert.rejects(run("sh", ["-c", "echo one; echo two >&2; exit 3"]), (error) => {
      assert.ok(error instanceof CommandFailed);
      assert.deepEqual([...error.lines].sort(), ["one", "two"]);
      assert.match(error.message, /\(3\)/);
      return true;
    });
    await assert.rejects(run("no-such-program", []), CommandFailed);
    assert.equal(await answers("no-such-program"), false);
  });

  it("ends with all that it started when its time is over, and says why", async () => {
    const patience = new AbortController();
    let pid = 0;
    const running = run("sh", ["-c", "sleep 60 & echo $!; wait"], {
      signal: patience.signal,
      onLine: (line) => {
        pid = Number(line);
        patience.abort("it took too long");
      },
    });
    await assert.rejects(running, /it took too long/);
    assert.ok(await ends(pid));
  });

  it("ends with the set-up", async () => {
    const shell = JSON.stringify(join(packageRoot, "src", "setup", "shell.ts"));
    const program = `
      const { run } = await import(${shell});
      const onLine = (line) => { console.log(line); process.exit(0); };
      await run("sh", ["-c", "echo $$; sleep 60"], { onLine });`;
    const register = join(packageRoot, "register.mjs");
    const { out } = await node(["--import", register, "--input-type=module", "-e", program]);
    assert.ok(await ends(Number(out)));
  });
});

describe("duration", () => {
  it("is given in minutes from one minute on", () => {
    assert.deepEqual([400, 59_400, 60_000, 151_000].map(duration), ["0 s", "59 s", "1 m 0 s", "2 m 31 s"]);
  });
});

/** Whether the process is gone within some seconds. */
async function ends(pid: number): Promise<boolean> {
  assert.ok(pid > 1);
  for (let tries = 0; tries < 200; tries++) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
    await sleep(25);
  }
  return false;
}
