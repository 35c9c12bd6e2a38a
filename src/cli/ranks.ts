import type { Command } from "commander";
import { LIMITS } from "../bridge/limits.ts";
import { UserError } from "../errors.ts";
import type { RunOptions } from "../experiment/training.ts";
import { openKeys } from "../serve/keys.ts";
import { wholeNumber } from "./whole-number.ts";

export interface RanksOptions {
  ranks?: number;
  maxRestarts?: number;
  listen?: string;
  keys?: string;
}

/** The options that say which ranks train: some that torchrun starts here, or some that others start on other hosts. */
export function ranksOptions(command: Command): Command {
  return command
    .option(
      "--ranks <n>",
      "train with so many processes, one a GPU, by torchrun (docs/many-gpus.md); with --listen: so many are to come",
      wholeNumber(1, LIMITS.world),
    )
    .option(
      "--max-restarts <n>",
      "with --ranks: start them again so often where one is lost, from the last checkpoint",
      wholeNumber(0, 1000),
    )
    .option(
      "--listen <endpoint>",
      "start no process, but wait for the ranks of other hosts: tcp://HOST:PORT, or ipc://PATH",
    )
    .option(
      "--keys <folder>",
      "with --listen: the keys (CURVE) for ranks of other hosts; made there at first",
    );
}

/** @throws UserError where they do not go together. */
export async function readRanks({
  ranks,
  maxRestarts,
  listen,
  keys,
}: RanksOptions): Promise<Pick<RunOptions, "ranks" | "maxRestarts" | "listen">> {
  if (listen === undefined) {
    if (keys !== undefined) throw new UserError("--keys are for ranks of other hosts: give --listen too");
    if (maxRestarts !== undefined && ranks === undefined)
      throw new UserError("--max-restarts is of the processes that --ranks starts: give --ranks too");
    return { ranks, maxRestarts };
  }
  if (maxRestarts !== undefined)
    throw new UserError(
      "--max-restarts is an option of torchrun where --listen waits for its ranks: give it there",
    );
  return {
    ranks,
    listen: { endpoint: listen, ...(keys !== undefined && { security: await openKeys(keys) }) },
  };
}
