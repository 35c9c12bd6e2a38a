// @ts-check
// A lock file holds the processes that have it, one a line: the ID and, where the system tells it, the time of the start,
// since IDs are used again. A process that was killed holds nothing. That is why no library does it: those tell a dead
// holder by its age. And set-up needs it before there are packages.
import { appendFileSync, linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";

/**
 * Takes the lock at `path`, unless a process that is alive has it. Of several processes only one gets it.
 *
 * @param {string} path
 * @returns {(() => void) | undefined} frees it; undefined if another process has it, or is about to remove a dead one's
 */
export function tryLock(path) {
  if (!create(path) && !(removeDead(path) && create(path))) return undefined;
  return () => {
    if (isOurs(path)) rmSync(path, { force: true });
  };
}

/**
 * The first process that has the lock at `path` and is alive.
 *
 * @param {string} path
 */
export function holderOf(path) {
  return firstAlive(read(path) ?? "");
}

/**
 * Lets the process `pid` have the lock too, if this process has it: until that one has ended as well.
 *
 * @param {string} path
 * @param {number} pid
 */
export function shareLock(path, pid) {
  if (isOurs(path)) appendFileSync(path, identity(pid));
}

/** @param {string} path */
function create(path) {
  // A link to a file that is whole: nobody reads a lock that is still empty.
  const whole = `${path}.${process.pid}`;
  try {
    writeFileSync(whole, identity(process.pid));
    linkSync(whole, path);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(whole, { force: true });
  }
}

/**
 * Removes a lock whose processes have all ended. It may change hands between the look at it and its removal, so that
 * removing has a lock of its own.
 *
 * @param {string} path
 */
function removeDead(path) {
  const free = holderOf(path) === undefined ? tryLock(`${path}.removal`) : undefined;
  if (free === undefined) return false;
  try {
    const lock = read(path);
    const dead = lock !== undefined && firstAlive(lock) === undefined;
    if (dead) rmSync(path, { force: true });
    return dead;
  } finally {
    free();
  }
}

/** @param {string} path */
function isOurs(path) {
  try {
    return read(path)?.startsWith(identity(process.pid)) ?? false;
  } catch {
    return false; // whoever has it, this process could read its own
  }
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** @param {number} pid */
function identity(pid) {
  return `${[pid, startOf(pid) ?? []].flat().join(" ")}\n`;
}

/** @param {string} lock */
function firstAlive(lock) {
  const holders = [...lock.matchAll(/^([1-9]\d*)(?: (\d+))?$/gm)];
  const alive = holders.find(([, pid, start]) => isAlive(Number(pid), start));
  return alive && Number(alive[1]);
}

/**
 * @param {number} pid
 * @param {string | undefined} start
 */
function isAlive(pid, start) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== "EPERM") return false;
  }
  const now = startOf(pid);
  return now === undefined || now === start;
}

/**
 * When a process began, as the system counts time; "ended" if it has ended and only its parent has not asked yet, which
 * in a container may never happen.
 *
 * @param {number} pid
 */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")")).split(" ");
    return /[ZX]/.test(fields[1] ?? "") ? "ended" : fields[20];
  } catch {
    return undefined;
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
