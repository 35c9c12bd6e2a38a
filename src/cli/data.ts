import type { Command } from "commander";
import { z } from "zod";
import { resolveConfig } from "../config/load.ts";
import { data as dataSchema } from "../config/schema.ts";
import { UserError } from "../errors.ts";
import { dataDir } from "../files/paths.ts";
import { pythonPath } from "../files/python.ts";
import { type DataSet, dataSets } from "../setup/data-sets.ts";
import { fetchFashionMnist } from "../setup/fashion-mnist.ts";
import { CommandFailed, run } from "../setup/shell.ts";

interface Options {
  json?: boolean;
  fetch?: boolean;
}

/** `mixhead data [NAME] [key=value ...]`: the data sets, their folders, how to get them, images per class. */
export function data(program: Command): void {
  program
    .command("data")
    .description("the data sets: their folders, how to get them, images per class")
    .argument("[name]", "a data set; without it, all of them")
    .argument("[key=value...]", "settings of the data set, such as data.imbalance=50 or data.path=DIR")
    .option("--fetch", "fetch the data set")
    .option("--json", "one JSON object on standard output")
    .action(async (name: string | undefined, overrides: string[], options: Options) => {
      const sets = await dataSets();
      if (name === undefined) return print(options, { sets }, table(sets));
      const set = sets.find((one) => one.name === name);
      if (set === undefined)
        throw new UserError(
          `There is no data set ${name}; there are ${sets.map((one) => one.name).join(", ")}`,
        );
      if (options.fetch) await fetchInto(set);
      else if (set.folder && !set.present) throw new UserError(`${name} is not in ${set.folder}: ${set.get}`);
      const counted = await count(name, overrides);
      print(options, counted.json, `${set.folder ? `${set.folder}\n` : ""}${counted.text}`);
    });
}

async function fetchInto(set: DataSet): Promise<void> {
  if (set.present) return;
  if (set.name !== "fashion-mnist" || set.folder === undefined)
    throw new UserError(`${set.name} cannot be fetched by this command: ${set.get}`);
  await fetchFashionMnist(set.folder);
}

const Counts = z.object({ name: z.string(), train: z.array(z.int()), test: z.array(z.int()) });

/** Counts the images per class with the loaders of the worker. */
async function count(name: string, overrides: readonly string[]): Promise<{ json: object; text: string }> {
  const prefixed = overrides.map((one) => (isDataKey(one) ? `data.${one}` : one));
  const config = resolveConfig({ data: { name } }, prefixed, `data ${name}`);
  const args = ["-m", "mixhead.worker.data", JSON.stringify(config.data), "--data-dir", dataDir()];
  try {
    const output = await run(pythonPath(), [...args, "--seed", String(config.seed), "--json"]);
    const counts = Counts.parse(JSON.parse(output));
    return { json: counts, text: lines(counts) };
  } catch (error) {
    if (error instanceof CommandFailed) throw new UserError(error.lines.at(-1) ?? error.message);
    throw error;
  }
}

/** The prefix `data.` may be omitted: `imbalance=50` means `data.imbalance=50`. */
function isDataKey(override: string): boolean {
  return (override.split("=")[0] ?? "") in dataSchema.shape;
}

function lines(counts: z.infer<typeof Counts>): string {
  const sum = (all: readonly number[]) => all.reduce((a, b) => a + b, 0);
  const row = (label: string | number, train: number, test: number) =>
    `${String(label).padStart(7)}${String(train).padStart(9)}${String(test).padStart(9)}`;
  return [
    `  class    train     test`,
    ...counts.train.map((train, index) => row(index, train, counts.test[index] ?? 0)),
    row("all", sum(counts.train), sum(counts.test)),
  ].join("\n");
}

function table(sets: readonly DataSet[]): string {
  return sets
    .map(
      (set) => `${set.name.padEnd(14)} ${set.what}\n${" ".repeat(15)}${set.present ? set.folder : set.get}`,
    )
    .join("\n");
}

function print(options: Options, json: object, text: string): void {
  process.stdout.write(`${options.json ? JSON.stringify(json) : text}\n`);
}
