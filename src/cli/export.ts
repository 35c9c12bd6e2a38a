import { existsSync } from "node:fs";
import { extname } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { findTrained } from "../experiment/trained.ts";
import { askPython } from "./ask-python.ts";
import { wholeNumber } from "./whole-number.ts";

const ENDINGS = [".safetensors", ".pt", ".pth"];

interface Options {
  arm?: string;
  seed?: number;
  force?: boolean;
}

/** The answer of `mixhead.worker.export`. */
const exported = z.strictObject({
  encoder: z.string(),
  /** Width of the features. */
  features: z.int().positive(),
  tensors: z.int().positive(),
  /** Python code that loads the file without mixhead. */
  load: z.string(),
  /** Pixels per side of the training images. */
  size: z.int().positive(),
  mean: z.array(z.number()).length(3),
  std: z.array(z.number()).length(3),
});

/** `mixhead export RUN FILE`: the trained encoder for timm or torchvision, without mixhead. */
export function exportEncoder(program: Command): void {
  program
    .command("export")
    .description("the trained encoder as a file that timm or torchvision loads without mixhead")
    .argument("<run>", "a run, or the folder of a checkpoint")
    .argument("<file>", `the file to write, ${ENDINGS.join(", ")}`)
    .option("--arm <arm>", "the arm, if the run has several (default: decoupled, or the only one)")
    .option("--seed <n>", "the seed, if the run has several (default: the first)", wholeNumber(0))
    .option("--force", "replace a file of this name")
    .action(writeEncoder);
}

async function writeEncoder(run: string, file: string, { force, ...choice }: Options): Promise<void> {
  if (!ENDINGS.includes(extname(file)))
    throw new UserError(`${file}: allowed file extensions: ${ENDINGS.join(", ")}`);
  if (!force && existsSync(file))
    throw new UserError(`${file} exists: choose another name, or replace it with --force`);
  const { label, path, config, notes } = await findTrained(run, [], choice);
  for (const note of notes) process.stderr.write(`${note}\n`);
  const args = [path, file, "--config", JSON.stringify(config)];
  const { encoder, features, tensors, load, size, mean, std } = exported.parse(
    await askPython("mixhead.worker.export", args),
  );
  process.stdout.write(
    [
      `${file}: the encoder of ${label} (${encoder}, ${features} features, ${tensors} tensors)`,
      `images: ${size} x ${size}, values 0 to 1, then (x - mean) / std with mean ${mean.join(", ")} and std ${std.join(", ")}`,
      "",
      load,
      "",
    ].join("\n"),
  );
}
