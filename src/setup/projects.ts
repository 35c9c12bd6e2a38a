import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { step } from "./progress.ts";
import { pip } from "./python-environment.ts";

/**
 * Installs the packages in `folder/projects.lock`, with which the examples' tests train, into `folder/.projects`. This
 * is separate from the environment, which contains only the packages of its own lock.
 * @returns whether there was anything to do
 */
export async function setUpProjects(folder: string): Promise<boolean> {
  const lock = join(folder, "projects.lock");
  const target = join(folder, ".projects");
  const stamp = join(target, ".mixhead-setup");
  const wanted = createHash("sha256")
    .update(await readFile(lock))
    .digest("hex");
  if ((await readFile(stamp, "utf8").catch(() => "")) === wanted) return false;
  await step(
    "lightly-train and stable-pretraining, for tests: about 400 MB to fetch, 1.2 GB on disk",
    async () => {
      await rm(target, { recursive: true, force: true, maxRetries: 3 });
      const exactly = [
        "install",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--progress-bar=off",
      ];
      await pip(folder, [...exactly, "--target", target, "-r", lock]);
      await writeFile(stamp, wanted);
    },
  );
  return true;
}
