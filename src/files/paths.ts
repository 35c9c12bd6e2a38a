import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of package.json; in a clone, the repository's root. */
export const packageRoot: string = fileURLToPath(new URL("../../", import.meta.url)).replace(/[\\/]$/, "");

/** `python_env/`: the Python package, its lock and its environment. */
export const pythonEnv: string = resolve(packageRoot, "python_env");

/** The folder in which set-up keeps files between runs, outside node_modules. */
export const cacheDir: string = resolve(packageRoot, ".cache");

/** The lock of set-up, which its programs share. bin/lock.mjs acquires and frees it. */
export const setupLock: string = resolve(cacheDir, "setup.lock");

/** The folder of data sets: MIXHEAD_DATA, or `data/` in the repository. */
export function dataDir(): string {
  return process.env.MIXHEAD_DATA ? resolve(process.env.MIXHEAD_DATA) : resolve(packageRoot, "data");
}

/** The folder of runs: `runs/` in the current directory. */
export function runsDir(): string {
  return resolve("runs");
}
