import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../src/errors.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { pythonPath } from "../../src/files/python.ts";
import { environmentIsCurrent, setUpPython } from "../../src/setup/python-environment.ts";
import { run } from "../../src/setup/shell.ts";
import { temporaryFolder } from "./folder.ts";
import { writeLock, writeTinyProject } from "./tiny-project.ts";

describe("the Python environment", function () {
  this.timeout(180_000);
  const root = temporaryFolder();
  const folder = () => join(root.path, "env");
  const wheels = () => join(root.path, "wheels");
  const stamp = () => join(folder(), ".venv", ".mixhead-setup");
  const interpreter = () => join(folder(), ".venv", "bin", "python");
  const thing = async () =>
    (await run(interpreter(), ["-c", "import project, thing; print(thing.version)"])).trim();

  beforeEach(async () => {
    await writeTinyProject(folder(), wheels());
    await writeLock(folder(), wheels(), "1.0");
    process.env.PIP_NO_INDEX = "1";
    process.env.PIP_FIND_LINKS = wheels();
  });
  afterEach(() => {
    delete process.env.PIP_NO_INDEX;
    delete process.env.PIP_FIND_LINKS;
  });

  it("is made again if its set-up was killed, then left alone until its lock or project changes", async () => {
    const making = spawn(
      process.execPath,
      [
        "--import",
        join(packageRoot, "register.mjs"),
        "--input-type=module",
        "-e",
        "const { setUpPython } = await import(process.argv[1]); await setUpPython(process.argv[2], '');",
        join(packageRoot, "src", "setup", "python-environment.ts"),
        folder(),
      ],
      { env: { ...process.env, NODE_OPTIONS: "" } },
    );
    while (!existsSync(interpreter()) && making.exitCode === null) await sleep(10);
    making.kill("SIGTERM");
    await once(making, "close");
    assert.equal(await environmentIsCurrent(folder()), false);
    const leftover = join(folder(), ".venv", "leftover");
    await writeFile(leftover, "");

    assert.equal(await setUpPython(folder(), "1 KB"), true);
    assert.equal(existsSync(leftover), false);
    assert.equal(await thing(), "1.0");

    const before = await readFile(stamp(), "utf8");
    assert.equal(await setUpPython(folder(), "1 KB"), false);
    assert.equal(await readFile(stamp(), "utf8"), before);

    await writeLock(folder(), wheels(), "2.0");
    assert.equal(await environmentIsCurrent(folder()), false);
    assert.equal(await setUpPython(folder(), "1 KB"), true);
    assert.equal(await thing(), "2.0");

    await writeFile(
      join(folder(), "pyproject.toml"),
      `${await readFile(join(folder(), "pyproject.toml"))}# changed\n`,
    );
    assert.equal(await setUpPython(folder(), "1 KB"), true);
    assert.equal(await setUpPython(folder(), "1 KB"), false);
  });

  it("follows the lock's checksums, and is not taken for whole if a package could not be had", async () => {
    const lock = join(folder(), "requirements.lock");
    const good = await readFile(lock, "utf8");
    await writeFile(
      lock,
      good.replace(/sha256:./, (start) => (start.endsWith("0") ? "sha256:1" : "sha256:0")),
    );
    await assert.rejects(setUpPython(folder(), "1 KB"), /HASHES|hashes/);
    assert.equal(await environmentIsCurrent(folder()), false);
    await writeFile(lock, good);
    assert.equal(await setUpPython(folder(), "1 KB"), true);
    assert.equal(await thing(), "1.0");

    // As one that was made by hand: nothing tells how, but all that the lock says is there.
    await rm(stamp());
    const kept = join(folder(), ".venv", "kept");
    await writeFile(kept, "");
    assert.equal(await setUpPython(folder(), "1 KB"), true);
    assert.equal(existsSync(kept), true);
  });
});

describe("pythonPath", () => {
  const before = process.env.MIXHEAD_PYTHON;
  afterEach(() => {
    if (before === undefined) delete process.env.MIXHEAD_PYTHON;
    else process.env.MIXHEAD_PYTHON = before;
  });

  it("is MIXHEAD_PYTHON if that is set, and reports a wrong one", () => {
    process.env.MIXHEAD_PYTHON = process.execPath;
    assert.equal(pythonPath(), process.execPath);
    process.env.MIXHEAD_PYTHON = "/no/such/python";
    assert.throws(pythonPath, (error) => error instanceof UserError && /MIXHEAD_PYTHON/.test(error.message));
  });
});
