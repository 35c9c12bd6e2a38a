import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json: the repository's root, in a clone. */
export const packageRoot: string = fileURLToPath(new URL("../../", import.meta.url)).replace(/[\\/]$/, "");

/** `python_env/`: the Python package, its lock and its environment. */
export const pythonEnv: string = resolve(packageRoot, "python_env");

/** Where the data sets are: MIXHEAD_DATA, or `data/` in the repository. */
export function dataDir(): string {
  return process.env.MIXHEAD_DATA ? resolve(process.env.MIXHEAD_DATA) : resolve(packageRoot, "data");
}

/** Where runs are written: `runs/` of the folder that the command was given in. */
export function runsDir(): string {
  return resolve("runs");
}
