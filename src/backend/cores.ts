import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";

/**
 * How many cores this process may use, 1 or more: those that it may run on, or fewer if its control group has less
 * time. `root`: where /proc and /sys are.
 */
export function allowedCores(root = "/"): number {
  return coresOfQuota(root) ?? availableParallelism();
}

/** How many cores' time the control group allows; undefined if that is no limit. */
export function coresOfQuota(root = "/"): number | undefined {
  const cores = Math.max(1, Math.floor(quotaOf(root)));
  return cores <= availableParallelism() ? cores : undefined;
}

/** What OMP_NUM_THREADS asks for; undefined if it says nothing. */
export function askedThreads(): number | undefined {
  const asked = Number.parseInt(process.env.OMP_NUM_THREADS ?? "", 10);
  return asked > 0 ? asked : undefined;
}

/** Cores' worth of time that the control groups of this process leave it, of either version; Infinity: no limit. */
function quotaOf(root: string): number {
  const quotas = (read(join(root, "proc/self/cgroup")) ?? "").split("\n").flatMap((line) => {
    const [, controllers = "", path = "/"] = line.split(":");
    if (controllers === "") return above(path).map((group) => quotaOfV2(join(root, "sys/fs/cgroup", group)));
    if (!controllers.split(",").includes("cpu")) return [];
    return above(path).map((group) => quotaOfV1(join(root, "sys/fs/cgroup", "cpu", group)));
  });
  return Math.min(Number.POSITIVE_INFINITY, ...quotas);
}

/** A group and those that hold it. In a container the path may be the host's, of which only the root is seen. */
function above(path: string): string[] {
  return path === "/" || path === "" ? ["/"] : [path, ...above(dirname(path))];
}

/** Such as "200000 100000", or "max 100000". */
function quotaOfV2(folder: string): number {
  const [quota = "max", period = ""] = (read(join(folder, "cpu.max")) ?? "").trim().split(" ");
  return ratio(quota, period);
}

function quotaOfV1(folder: string): number {
  return ratio(read(join(folder, "cpu.cfs_quota_us")) ?? "", read(join(folder, "cpu.cfs_period_us")) ?? "");
}

/** A quota that is "max", -1 or missing is none. */
function ratio(quota: string, period: string): number {
  const cores = Number(quota) / Number(period);
  return cores > 0 ? cores : Number.POSITIVE_INFINITY;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
