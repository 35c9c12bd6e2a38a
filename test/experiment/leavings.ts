import { hash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { readMetrics } from "../../src/experiment/metrics-log.ts";

/** What depends on the clock on the wall, not on the run. */
const WALL = ["seconds", "stepSeconds", "loadSeconds", "waitSeconds"];

/** All that a run leaves of its arms but times: metrics, last evaluation, probe, names and tensors of its checkpoints. */
export async function leavings(run: string, arms: readonly string[]) {
  return Promise.all(
    arms.map(async (arm) => {
      const lines = await readMetrics(join(run, arm, "metrics.jsonl"));
      const kept = lines.map((line) => Object.entries(line).filter(([key]) => !WALL.includes(key)));
      const all = await readdir(join(run, arm, "checkpoints"));
      const checkpoints = all.filter((name) => !name.startsWith("aside-")).sort();
      const newest = join(run, arm, "checkpoints", checkpoints.at(-1) ?? "");
      const files = (await readdir(newest)).filter((file) => file.endsWith(".safetensors")).sort();
      const paths = [
        ...files.map((file) => join(newest, file)),
        ...["evaluation.safetensors", "evaluation.json", "nearest.safetensors"].map((file) =>
          join(run, arm, file),
        ),
      ];
      const hashes = await Promise.all(
        paths.map(async (path) => [relative(run, path), hash("sha256", await readFile(path))]),
      );
      return { arm, lines: kept, checkpoints, hashes };
    }),
  );
}
