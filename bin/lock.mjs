// One set-up at a time. The lock file holds process ids: the set-up's own first, then those of the programs it has
// started (src/setup/shell.ts), for these outlive a set-up that is killed outright.
// No library does it, since it has to work before there are npm packages.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits until no other set-up is under way, then takes the lock; says so where it has to wait.
 * @returns {Promise<() => void>} what frees the lock; the end of the process frees it too
 */
export async function takeLock(file) {
  mkdirSync(dirname(file), { recursive: true });
  let waiting = false;
  while (!(await tryToTake(file))) {
    const holder = alive(file);
    if (holder && !waiting) {
      waiting = true;
      process.stderr.write(
        `another set-up is under way (process ${holder}): waiting for it\n` +
          `  if that process is not a set-up of mixhead, delete ${file}\n`,
      );
    }
    await sleep(holder ? 500 : 0);
  }
  const free = () => {
    process.off("exit", free);
    if (owner(file) === process.pid) rmSync(file, { force: true });
  };
  process.once("exit", free);
  return free;
}

async function tryToTake(file) {
  if (alive(file)) return false;
  // Whoever finds the lock of a dead set-up moves it aside, so that of two only one removes it.
  const dead = `${file}.${process.pid}`;
  try {
    renameSync(file, dead);
    rmSync(dead);
    await sleep(50);
  } catch {
    // There was none.
  }
  try {
    writeFileSync(file, `${process.pid} `, { flag: "wx" });
  } catch {
    return false;
  }
  // A slower process may have moved this one aside, having read the dead one before.
  await sleep(100);
  return owner(file) === process.pid;
}

function pids(file) {
  try {
    return readFileSync(file, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

const owner = (file) => pids(file)[0];

/** The first process of the lock that still runs. */
function alive(file) {
  return pids(file).find((pid) => {
    try {
      process.kill(pid, 0);
    } catch (error) {
      return error.code === "EPERM";
    }
    return !ended(pid);
  });
}

/** Whether it has ended and only its parent has not asked yet, which in a container may never happen. */
function ended(pid) {
  try {
    return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\)/, ""));
  } catch {
    return false;
  }
}
