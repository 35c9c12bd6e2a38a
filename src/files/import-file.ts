import { existsSync } from "node:fs";
import { access } from "node:fs/promises";
import { register } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { sentence, UserError } from "../errors.ts";
import { fileError } from "./errors.ts";

const hooks = new URL("./import-hooks.mjs", import.meta.url);
let registered = false;

/**
 * Imports a module of the user's, TypeScript or JavaScript, from any folder; in it, "mixhead",
 * "@tensorflow/tfjs-core" and "zod" resolve to this package's own.
 *
 * @throws UserError, one sentence, if the file is missing, cannot be parsed, or throws while it loads.
 */
export async function importFile(path: string): Promise<Record<string, unknown>> {
  const file = resolve(path);
  try {
    await access(file);
  } catch (error) {
    throw fileError("read", path, error);
  }
  if (!existsSync(hooks)) {
    throw new UserError(
      `${path}: a plugin of your own needs mixhead's sources, and this is the bundle of the Python package: install that from the repository, with pip install -e`,
    );
  }
  if (!registered) register(hooks);
  registered = true;
  try {
    return await import(pathToFileURL(file).href);
  } catch (error) {
    throw new UserError(`${path} cannot be loaded: ${sentence(error).split("\n")[0]}`, { cause: error });
  }
}
