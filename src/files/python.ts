import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { pythonEnv } from "./paths.ts";

/**
 * The interpreter for the Python side: MIXHEAD_PYTHON, or that of `python_env/.venv`.
 * @throws UserError if it does not exist
 */
export function pythonPath(): string {
  const chosen = process.env.MIXHEAD_PYTHON;
  if (chosen) {
    const path = resolve(chosen);
    if (!existsSync(path)) throw new UserError(`MIXHEAD_PYTHON is ${chosen}, which does not exist`);
    return path;
  }
  const path = join(pythonEnv, ".venv", "bin", "python");
  if (!existsSync(path))
    throw new UserError(
      "The Python environment (python_env/.venv) is missing: run `npm start` in a clone, or set MIXHEAD_PYTHON to a Python that has mixhead[worker]",
    );
  return path;
}
