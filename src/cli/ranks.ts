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

/** Adds the options for several ranks, which torchrun starts here or others start on other hosts. */
export function ranksOptions(command: Command): Command {
  return command
    .option(
      "--ranks <n>",
      "train with this many processes, one per GPU, started by torchrun (docs/many-gpus.md); with --listen: wait for this many",
      wholeNumber(1, LIMITS.world),
    )
    .option(
      "--max-restarts <n>",
      "with --ranks: if one is lost, restart them from the last checkpoint, at most this many times",
      wholeNumber(0, 1000),
    )
    .option(
      "--listen <endpoint>",
      "start no process, and wait for ranks of other hosts at tcp://HOST:PORT or ipc://PATH",
    )
    .option(
      "--keys <folder>",
      "with --listen: the folder of CURVE keys for ranks of other hosts; created if missing",
    );
}

/** @throws UserError if the options contradict each other */
export async function readRanks({
  ranks,
  maxRestarts,
  listen,
  keys,
}: RanksOptions): Promise<Pick<RunOptions, "ranks" | "maxRestarts" | "listen">> {
  if (listen === undefined) {
    if (keys !== undefined) throw new UserError("--keys applies to ranks of other hosts: use --listen too");
    if (maxRestarts !== undefined && ranks === undefined)
      throw new UserError("--max-restarts applies to processes that --ranks starts: use --ranks too");
    return { ranks, maxRestarts };
  }
  if (maxRestarts !== undefined)
    throw new UserError(
      "with --listen, --max-restarts is an option of the torchrun that starts the ranks: set it there",
    );
  return {
    ranks,
    listen: { endpoint: listen, ...(keys !== undefined && { security: await openKeys(keys) }) },
  };
}
