import { rm } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { readNpy } from "../files/npy.ts";
import type { Vectors } from "../files/rows.ts";
import { makeTemporaryFolder } from "../files/temporary.ts";
import { askPython } from "./ask-python.ts";

/** Prototypes as stored in a file: neither normalised nor checked. */
export interface FoundPrototypes extends Vectors {
  /** The tensor's name in a checkpoint. */
  key?: string;
  /** Other candidate tensors, best first. */
  others: string[];
  /** Whether no name identified the tensor, so that the last linear layer of a projector was chosen. */
  guessed: boolean;
}

/** The answer of `mixhead.checkpoint`. */
const foundTensor = z.strictObject({ key: z.string(), others: z.array(z.string()), guessed: z.boolean() });

/**
 * Reads K x D prototypes from a .npy file or a checkpoint (a file of any name, or a folder of
 * torch.distributed.checkpoint). In a checkpoint, `key` names the tensor; without it, the last layer is
 * found by its name. Python reads checkpoints, without running code from them.
 *
 * @throws UserError if the file cannot be read or has no prototypes
 */
export async function readPrototypes(path: string, key?: string): Promise<FoundPrototypes> {
  if (extname(path).toLowerCase() === ".npy") {
    if (key !== undefined)
      throw new UserError(`${path} holds a single array: --key applies to checkpoints only`);
    return { ...(await readMatrix(path, path)), others: [], guessed: false };
  }
  const folder = await makeTemporaryFolder("mixhead-");
  try {
    const rows = join(folder, "rows.npy");
    const args = [path, "--out", resolve(rows), ...(key === undefined ? [] : [`--key=${key}`])];
    const found = foundTensor.parse(await askPython("mixhead.checkpoint", args));
    return { ...(await readMatrix(rows, path)), ...found };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Lines that tell the user how the tensor was found. */
export function remarks({ key, others, guessed }: FoundPrototypes): string[] {
  return [
    ...(guessed
      ? [
          `(a guess: no name identifies the prototypes, and ${key} is the last layer of a projector; choose with --key)`,
        ]
      : []),
    ...(others.length > 0 ? [`(also found: ${others.join(", ")}; choose with --key)`] : []),
  ];
}

async function readMatrix(file: string, source: string): Promise<Vectors> {
  const { shape, data } = await readNpy(file);
  const [rows = 0, dim = 0] = shape;
  if (shape.length !== 2 || rows === 0 || dim === 0) {
    throw new UserError(
      `${source} holds ${shape.join(" x ") || "a single number"}; prototypes x dimensions are needed`,
    );
  }
  return { rows, dim, data };
}
