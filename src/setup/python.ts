import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { pythonEnv } from "./paths.ts";

/**
 * The interpreter that runs the Python side: MIXHEAD_PYTHON, or the one of `python_env/.venv`.
 * @throws UserError where there is none yet.
 */
export function pythonPath(): string {
  const chosen = process.env.MIXHEAD_PYTHON;
  if (chosen) {
    const path = resolve(chosen);
    if (!existsSync(path)) throw new UserError(`MIXHEAD_PYTHON is ${chosen}, where there is no file`);
    return path;
  }
  const path = join(pythonEnv, ".venv", "bin", "python");
  if (!existsSync(path))
    throw new UserError(
      "The Python environment (python_env/.venv) is missing: run `npm start` in a clone, or set MIXHEAD_PYTHON to a Python that has mixhead[worker]",
    );
  return path;
}
