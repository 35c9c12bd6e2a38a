import { basename } from "node:path";
import { UserError } from "../errors.ts";

/** The command line's options for the runs of an experiment file. */
export interface Invocation {
  /** The file, which gives its name to a run without one. */
  file: string | undefined;
  /** Settings such as "train.stop=100", which apply to every arm. */
  overrides: readonly string[];
  /** The run's name, for a file with one run. */
  name?: string | undefined;
  /** Replaces runs of the same name. */
  force: boolean;
  /** Serves the live page of each run while it trains. */
  live: boolean;
  /** Trainings at the same time; by default one for each GPU or core. */
  jobs?: number | undefined;
}

let current: Invocation = { file: process.argv[1], overrides: [], force: false, live: false };
const taken = new Set<string>();

/** `mixhead run` calls this with its command line before it loads the file. */
export function setInvocation(invocation: Invocation): void {
  current = invocation;
  taken.clear();
}

export function invocation(): Invocation {
  return current;
}

/** The experiment file's name without its extension; undefined if there is no file. */
export function fileName(): string | undefined {
  return current.file && basename(current.file).replace(/\.\w+$/, "");
}

/**
 * The name of a run of this process: from the command line, `given`, or that of the file.
 *
 * @throws UserError if there is no name, or if an earlier run has the same
 */
export function runName(given: string | undefined): string {
  const { name: said } = current;
  const name = said ?? given ?? fileName();
  if (name === undefined) throw new UserError("give the run a name: { name: ... }");
  if (taken.has(name) && (said !== undefined || given === undefined)) {
    throw new UserError(
      said === undefined
        ? `a run of this process is already called ${name}: give each its own name, { name: ... }`
        : `--name ${name} names one run, but this file has several`,
    );
  }
  taken.add(name);
  return name;
}
