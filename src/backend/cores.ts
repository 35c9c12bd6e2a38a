import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";

/**
 * The number of cores that this process may use, from 1: those of its affinity, or fewer if its control group has a
 * CPU quota. `root`: the folder of /proc and /sys.
 */
export function allowedCores(root = "/"): number {
  return coresOfQuota(root) ?? availableParallelism();
}

/** The number of cores that the control group's quota allows; undefined if it does not limit this process. */
export function coresOfQuota(root = "/"): number | undefined {
  const cores = Math.max(1, Math.floor(quotaOf(root)));
  return cores <= availableParallelism() ? cores : undefined;
}

/** The number of threads in OMP_NUM_THREADS; undefined if it is not set. */
export function askedThreads(): number | undefined {
  const asked = Number.parseInt(process.env.OMP_NUM_THREADS ?? "", 10);
  return asked > 0 ? asked : undefined;
}

/** The quota of this process's control groups (version 1 or 2), in cores; Infinity if there is no limit. */
function quotaOf(root: string): number {
  const quotas = (read(join(root, "proc/self/cgroup")) ?? "").split("\n").flatMap((line) => {
    const [, controllers = "", path = "/"] = line.split(":");
    if (controllers === "") return above(path).map((group) => quotaOfV2(join(root, "sys/fs/cgroup", group)));
    if (!controllers.split(",").includes("cpu")) return [];
    return above(path).map((group) => quotaOfV1(join(root, "sys/fs/cgroup", "cpu", group)));
  });
  return Math.min(Number.POSITIVE_INFINITY, ...quotas);
}

/** A group and its parents. In a container the path may be that of the host, of which only the root is visible. */
function above(path: string): string[] {
  return path === "/" || path === "" ? ["/"] : [path, ...above(dirname(path))];
}

/** Reads cpu.max, such as "200000 100000" or "max 100000". */
function quotaOfV2(folder: string): number {
  const [quota = "max", period = ""] = (read(join(folder, "cpu.max")) ?? "").trim().split(" ");
  return ratio(quota, period);
}

function quotaOfV1(folder: string): number {
  return ratio(read(join(folder, "cpu.cfs_quota_us")) ?? "", read(join(folder, "cpu.cfs_period_us")) ?? "");
}

/** The quota in cores; Infinity for "max", -1 or a missing one. */
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
