import { readFileSync } from "node:fs";
import { link, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { codeOf, fileError } from "../files/errors.ts";

const FILE = "lock";

/**
 * Keeps other processes from training at a run until the result is called. A process that was killed holds nothing,
 * and its run goes on at once. That is why this is no library's lock: those tell a dead holder by its age.
 *
 * @throws UserError if another process trains at it
 */
export async function lockRun(folder: string): Promise<() => Promise<void>> {
  const path = join(folder, FILE);
  try {
    while (!(await create(path))) {
      await checkFree(folder);
      await removeDead(path);
    }
  } catch (error) {
    throw fileError("write", path, error);
  }
  return () => rm(path, { force: true });
}

/** Creates the lock. False if there is one: of two processes only one creates it. */
async function create(path: string): Promise<boolean> {
  // A link to a file that is whole: nobody reads a lock that is still empty.
  const whole = `${path}.${process.pid}`;
  try {
    await writeFile(whole, identity(process.pid));
    await link(whole, path);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    await rm(whole, { force: true });
  }
}

/**
 * Removes the lock at `path` if its process has ended. The lock may change hands between the look at it and its removal.
 * So a process first takes a second lock, on the removal of this dead process's lock: nobody else removes it then.
 */
async function removeDead(path: string): Promise<void> {
  const dead = await read(path);
  if (dead === undefined || holderOf(dead) !== undefined) return;
  const removal = `${path}.after-${dead.replace(/\W/g, "-").slice(0, 40)}`;
  if (!(await create(removal))) return removeDead(removal);
  try {
    if ((await read(path)) === dead) await rm(path, { force: true });
  } finally {
    await rm(removal, { force: true });
  }
}

/** @throws UserError if a process that is alive trains at the run */
export async function checkFree(folder: string): Promise<void> {
  const pid = holderOf(await read(join(folder, FILE)).catch(() => undefined));
  if (pid === undefined) return;
  throw new UserError(
    `${folder} is being trained by process ${pid}; wait for it, or end it: it stops at a checkpoint`,
  );
}

/** The contents of a lock; undefined if there is none. */
async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The process that a lock names, if it is alive. */
function holderOf(lock = ""): number | undefined {
  const pid = Number.parseInt(lock, 10);
  return !Number.isNaN(pid) && isAlive(pid) && identity(pid) === lock ? pid : undefined;
}

/** Process ids are used again; with the time of its start one is unique, where the system tells it. */
function identity(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return `${pid} ${stat.slice(stat.lastIndexOf(")")).split(" ")[20]}`;
  } catch {
    return `${pid}`;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}
