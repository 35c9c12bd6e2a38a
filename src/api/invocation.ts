import { basename } from "node:path";
import { UserError } from "../errors.ts";

/** What the command line says for the runs that an experiment file begins. */
export interface Invocation {
  /** The file: a run that is given no name is called after it. */
  file: string | undefined;
  /** Settings such as "train.stop=100", which hold for every arm. */
  overrides: readonly string[];
  /** The run's name, where the file has one run. */
  name?: string | undefined;
  /** Replaces runs of the same names. */
  force: boolean;
  /** Serves the live page of each run while it goes. */
  live: boolean;
  /** Trainings at once; one for each GPU or core, where it is left out. */
  jobs?: number | undefined;
}

let current: Invocation = { file: process.argv[1], overrides: [], force: false, live: false };
const taken = new Set<string>();

/** `mixhead run` says here what was on its command line, before it loads the file. */
export function setInvocation(invocation: Invocation): void {
  current = invocation;
  taken.clear();
}

export function invocation(): Invocation {
  return current;
}

/** The experiment file's name without its ending; undefined where there is no file. */
export function fileName(): string | undefined {
  return current.file && basename(current.file).replace(/\.\w+$/, "");
}

/**
 * What a run of this process is called: as the command line says, as `given`, or after the file.
 *
 * @throws UserError where there is no name, or a run before it had the same.
 */
export function runName(given: string | undefined): string {
  const { name: said } = current;
  const name = said ?? given ?? fileName();
  if (name === undefined) throw new UserError("give the run a name: { name: ... }");
  if (taken.has(name) && (said !== undefined || given === undefined)) {
    throw new UserError(
      said === undefined
        ? `a run of this process is called ${name} already: give each a name of its own, { name: ... }`
        : `--name ${name} names one run, and this file begins several`,
    );
  }
  taken.add(name);
  return name;
}
