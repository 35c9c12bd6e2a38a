import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { step } from "./progress.ts";
import { answers, run } from "./shell.ts";

/** The files, which may also have the extension .gz. */
export const FASHION_MNIST_FILES = [
  "train-images-idx3-ubyte",
  "train-labels-idx1-ubyte",
  "t10k-images-idx3-ubyte",
  "t10k-labels-idx1-ubyte",
];

/**
 * Fetches Fashion-MNIST from Debian's package into `folder`. It needs apt's programs, but no root rights:
 * package lists go into a separate folder, and nothing is installed.
 * @throws UserError if there is no apt
 */
export async function fetchFashionMnist(folder: string): Promise<void> {
  for (const tool of ["apt-get", "dpkg-deb"])
    if (!(await answers(tool)))
      throw new UserError(
        `There is no ${tool} on this machine: put the files of Debian's package dataset-fashion-mnist (${FASHION_MNIST_FILES.join(", ")}, each with .gz or without) into ${folder}`,
      );
  await step("Fashion-MNIST: 9 MB of package lists and 31 MB to fetch, 31 MB on disk", async (note) => {
    const partial = `${folder}.partial`;
    await rm(partial, { recursive: true, force: true });
    await mkdir(join(partial, "lists", "partial"), { recursive: true });
    await mkdir(join(partial, "cache", "archives", "partial"), { recursive: true });
    const ours = [`Dir::State::Lists=${partial}/lists`, `Dir::Cache=${partial}/cache`, "Debug::NoLocking=1"];
    const apt = (...args: string[]) =>
      run("apt-get", [...ours.flatMap((option) => ["-o", option]), ...args], { cwd: partial, onLine: note });
    await apt("update");
    await apt("download", "dataset-fashion-mnist");
    const archive = (await readdir(partial)).find((name) => name.endsWith(".deb")) ?? "";
    await run("dpkg-deb", ["-x", join(partial, archive), join(partial, "root")]);
    const shipped = join(partial, "root", "usr", "share", "datasets", "fashion-mnist");
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(shipped)) await rename(join(shipped, name), join(folder, name));
    await rm(partial, { recursive: true });
  });
}
