import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json: the repository's root, in a clone. */
export const packageRoot: string = fileURLToPath(new URL("../../", import.meta.url)).replace(/[\\/]$/, "");

/** `python_env/`: the Python package, its lock and its environment. */
export const pythonEnv: string = resolve(packageRoot, "python_env");

/** What set-up keeps between runs, outside node_modules. */
export const cacheDir: string = resolve(packageRoot, ".cache");

/** The process ids of the set-up under way and of what it runs; bin/lock.mjs takes and frees it. */
export const setupLock: string = resolve(cacheDir, "setup.lock");

/** Where the data sets are: MIXHEAD_DATA, or `data/` in the repository. */
export function dataDir(): string {
  return process.env.MIXHEAD_DATA ? resolve(process.env.MIXHEAD_DATA) : resolve(packageRoot, "data");
}

/** Where runs are written: `runs/` of the folder that the command was given in. */
export function runsDir(): string {
  return resolve("runs");
}
