import { join } from "node:path";
import { dataDir, pythonEnv } from "../files/paths.ts";
import { pythonPath } from "../files/python.ts";
import { CIFAR10, setUpData } from "./cifar10.ts";
import { duration, say } from "./progress.ts";
import { setUpProjects } from "./projects.ts";
import { setUpPython } from "./python-environment.ts";
import { setUpAddon } from "./tfjs-addon.ts";

export interface SetUpOptions {
  /** When set-up began, in milliseconds since the epoch. */
  start: number;
  /** Retries what an earlier set-up had to skip. */
  retry: boolean;
  /** Whether stage one has installed the npm packages. */
  installed: boolean;
}

/**
 * Set-up, stage two: the Python environment (unless MIXHEAD_PYTHON names another), in CI the packages of other
 * projects that tests train with, tfjs-node's addon, and CIFAR-10. Prints nothing if everything is there.
 */
export async function setUpAll({ start, retry, installed }: SetUpOptions): Promise<void> {
  let worked = installed;
  if (!process.env.MIXHEAD_PYTHON)
    worked = (await setUpPython(pythonEnv, "about 3.1 GB to fetch, 5.8 GB on disk")) || worked;
  if (!process.env.MIXHEAD_PYTHON && process.env.CI) worked = (await setUpProjects(pythonEnv)) || worked;
  worked = (await setUpAddon(pythonPath(), retry)) || worked;
  worked = (await setUpData(CIFAR10, join(dataDir(), "cifar10"))) || worked;
  if (worked) say(`set-up took ${duration(Date.now() - start)}`);
}
