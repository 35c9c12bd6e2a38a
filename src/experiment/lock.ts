import { readFileSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { fileError } from "../files/errors.ts";

const FILE = "lock";

/**
 * Keeps other processes from training at a run as long as this one does; the result frees it. A
 * process that was killed holds nothing.
 *
 * @throws UserError where another process trains at it.
 */
export async function lockRun(folder: string): Promise<() => Promise<void>> {
  await checkFree(folder);
  const path = join(folder, FILE);
  try {
    await rm(path, { force: true });
    await writeFile(path, identity(process.pid), { flag: "wx" });
  } catch (error) {
    throw fileError("write", path, error);
  }
  return () => rm(path, { force: true });
}

/** @throws UserError where a process that is alive trains at the run. */
export async function checkFree(folder: string): Promise<void> {
  const holder = await readFile(join(folder, FILE), "utf8").catch(() => "");
  const pid = Number.parseInt(holder, 10);
  if (Number.isNaN(pid) || !isAlive(pid) || identity(pid) !== holder) return;
  throw new UserError(
    `${folder} is being trained by process ${pid}; wait for it, or end it: it stops at a checkpoint`,
  );
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
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
