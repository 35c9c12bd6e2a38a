import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export interface Process {
  pid: number;
  /** Its command line. */
  args: string;
}

/** A process and all that it has started. */
export function family(pid: number): Process[] {
  const rows = execFileSync("ps", ["-eo", "pid=,ppid=,args="], { encoding: "utf8" }).trim().split("\n");
  const all = rows.map((row) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(row) ?? []);
  const of = (parent: number): Process[] =>
    all.flatMap(([, child, above, args = ""]) =>
      Number(above) === parent ? [{ pid: Number(child), args }, ...of(Number(child))] : [],
    );
  const own = all.find(([, each]) => Number(each) === pid)?.[3] ?? "";
  return [{ pid, args: own }, ...of(pid)];
}

/** Waits until all have ended. Gives those that have not within `seconds`. */
export async function whoIsLeft(processes: readonly Process[], seconds: number): Promise<Process[]> {
  const until = performance.now() + seconds * 1000;
  const left = () => processes.filter(({ pid }) => isAlive(pid));
  while (left().length > 0 && performance.now() < until) await sleep(20);
  return left();
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
