// One set-up at a time. Its lock is shared with the programs that it has started (src/setup/shell.ts), for these outlive
// a set-up that is killed outright.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { holderOf, tryLock } from "../src/files/lock.mjs";

/**
 * Waits until no other set-up is under way, then takes the lock; says so where it has to wait.
 * @returns {Promise<() => void>} what frees the lock; the end of the process frees it too
 */
export async function takeLock(file) {
  mkdirSync(dirname(file), { recursive: true });
  let free = tryLock(file);
  for (let said = false; free === undefined; free = tryLock(file)) {
    const holder = holderOf(file);
    if (holder && !said) {
      said = true;
      process.stderr.write(
        `another set-up is under way (process ${holder}): waiting for it\n` +
          `  if that process is not a set-up of mixhead, delete ${file}\n`,
      );
    }
    await sleep(holder ? 500 : 10);
  }
  process.once("exit", free);
  return free;
}
