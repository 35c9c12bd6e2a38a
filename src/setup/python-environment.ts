import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { RunError } from "../errors.ts";
import { step } from "./progress.ts";
import { run } from "./shell.ts";

const CANDIDATES = ["python3.11", "python3", "python3.12", "python3.13", "python3.14", "python"];
const OLDEST = [3, 11] as const;
const UNFINISHED = "unfinished";

/** pip must follow the lock alone: constraints configured on the machine could contradict it. */
const PIP_ENV = { PIP_CONSTRAINT: "", PIP_DISABLE_PIP_VERSION_CHECK: "1", PIP_NO_INPUT: "1" };

/** Hashes of an environment's sources: the lock, and the project that is installed from its folder. */
interface Contents {
  lock: string;
  project: string;
}

/** The interpreter of the environment in `folder`, whether it exists or not. */
function interpreter(folder: string): string {
  return join(folder, ".venv", "bin", "python");
}

/** Whether the environment in `folder` is complete and matches its lock and project. */
export async function environmentIsCurrent(folder: string): Promise<boolean> {
  const [has, wants] = [await stampOf(folder), await contentsOf(folder)];
  return (
    existsSync(interpreter(folder)) &&
    has !== undefined &&
    has !== UNFINISHED &&
    has.lock === wants.lock &&
    has.project === wants.project
  );
}

/**
 * Makes `folder/.venv` match `folder/requirements.lock`, with the project in `folder` installed editable.
 * A complete environment with another lock is updated. One that is incomplete is created again. One that
 * was made by hand and matches the lock is kept.
 * @param size the size of the packages, for the announcement
 * @returns whether there was anything to do
 */
export async function setUpPython(folder: string, size: string): Promise<boolean> {
  if (await environmentIsCurrent(folder)) return false;
  const python = interpreter(folder);
  const stamp = existsSync(python) ? await stampOf(folder) : UNFINISHED;
  const wanted = await contentsOf(folder);
  const hasPackages =
    stamp === undefined ? await holdsLock(folder) : stamp !== UNFINISHED && stamp.lock === wanted.lock;

  if (!hasPackages) {
    const anew = stamp === undefined || stamp === UNFINISHED;
    const base = anew ? await findPython() : undefined;
    const which = base ? ` (${base.command}, ${base.version})` : "";
    await step(`Python environment${which}: ${size}`, async (note) => {
      if (base) await makeVenv(folder, base.command);
      else await writeFile(stampFile(folder), UNFINISHED);
      await installLock(folder, note);
    });
  }
  await step("Python package mixhead: from its folder, nothing to fetch", async () => {
    await writeFile(stampFile(folder), UNFINISHED);
    await pip(folder, ["install", "--no-deps", "--no-build-isolation", "--no-index", "-e", folder]);
    await writeFile(stampFile(folder), JSON.stringify(wanted));
  });
  return true;
}

async function makeVenv(folder: string, python: string): Promise<void> {
  const venv = join(folder, ".venv");
  await rm(venv, { recursive: true, force: true, maxRetries: 3 });
  await mkdir(venv, { recursive: true });
  await writeFile(stampFile(folder), UNFINISHED);
  await run(python, ["-m", "venv", venv]);
}

/**
 * Installs exactly the lock's files, verified by their hashes. The lock's setuptools comes first, to build
 * packages that exist only as source; otherwise pip would fetch an unpinned setuptools.
 */
async function installLock(folder: string, note: (text: string) => void): Promise<void> {
  const lock = join(folder, "requirements.lock");
  const onLine = (line: string) => {
    // "Collecting torch==2.14.1 (from ...)": drop the rest of the line, and the long list at the end.
    const [, doing, what = ""] = /^\s*(Collecting|Downloading|Processing|Installing) (\S+)/.exec(line) ?? [];
    if (doing)
      note(doing === "Installing" ? "unpacking all of them" : `${doing.toLowerCase()} ${basename(what)}`);
  };
  const exactly = ["install", "--require-hashes", "--no-deps", "--no-build-isolation", "--progress-bar=off"];
  const setuptools = /^setuptools==(?:.*\\\n)*.*$/m.exec(await readFile(lock, "utf8"));
  if (setuptools) {
    const first = join(folder, ".venv", "setuptools.lock");
    await writeFile(first, `${setuptools[0]}\n`);
    await pip(folder, [...exactly, "-r", first], onLine);
  }
  await pip(folder, [...exactly, "-r", lock], onLine);
}

/** Runs pip of the environment in `folder`, without the machine's constraints. */
export function pip(
  folder: string,
  args: readonly string[],
  onLine?: (line: string) => void,
): Promise<string> {
  return run(interpreter(folder), ["-m", "pip", ...args], { env: PIP_ENV, ...(onLine && { onLine }) });
}

/** Whether all packages of the lock are installed. Uses no index. */
function holdsLock(folder: string): Promise<boolean> {
  const lock = join(folder, "requirements.lock");
  return pip(folder, ["install", "--dry-run", "--no-index", "--no-deps", "-r", lock]).then(
    () => true,
    () => false,
  );
}

/** The first Python that is new enough and can create environments. */
async function findPython(): Promise<{ command: string; version: string }> {
  const ask = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))";
  for (const command of CANDIDATES) {
    const version = await run(command, ["-c", ask]).then(
      (output) => output.trim(),
      () => undefined,
    );
    const [major = 0, minor = 0] = (version ?? "").split(".").map(Number);
    if (version && (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])))
      return { command, version };
  }
  throw new RunError(
    "internal",
    `no Python ${OLDEST.join(".")} or newer with venv and pip was found (tried ${CANDIDATES.join(", ")}): install one, ` +
      "on Debian and Ubuntu python3 and python3-venv",
  );
}

const stampFile = (folder: string) => join(folder, ".venv", ".mixhead-setup");

async function stampOf(folder: string): Promise<Contents | typeof UNFINISHED | undefined> {
  const text = await readFile(stampFile(folder), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const { lock, project } = JSON.parse(text);
    return { lock: String(lock), project: String(project) };
  } catch {
    return UNFINISHED;
  }
}

/** Hashes the lock and the project, including the project's path, because an editable install points to it. */
async function contentsOf(folder: string): Promise<Contents> {
  const hash = async (name: string) => createHash("sha256").update(await readFile(join(folder, name)));
  return {
    lock: (await hash("requirements.lock")).digest("hex"),
    project: (await hash("pyproject.toml")).update(folder).digest("hex"),
  };
}
