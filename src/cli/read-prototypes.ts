import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { RunError, UserError } from "../errors.ts";
import { readNpy } from "../files/npy.ts";
import { pythonEnv } from "../files/paths.ts";
import { pythonPath } from "../files/python.ts";
import type { Rows } from "../files/rows.ts";
import { makeTemporaryFolder } from "../files/temporary.ts";

/** Prototypes as a file holds them: not normalised, rows not checked. */
export interface FoundPrototypes extends Rows {
  /** The tensor's name in a checkpoint. */
  key?: string;
  /** Other tensors that would have done as well, best first. */
  others: string[];
  /** Whether no name told: it is the last linear layer of a projector. */
  guessed: boolean;
}

/**
 * Reads K x D prototypes from a .npy file or out of a checkpoint (a file of any name, or a folder of
 * torch.distributed.checkpoint), where the last layer is found by its name or is the one that `key`
 * names. Checkpoints are read by Python, which runs nothing in them.
 *
 * @throws UserError with a sentence about a file that cannot be read.
 */
export async function readPrototypes(path: string, key?: string): Promise<FoundPrototypes> {
  if (extname(path).toLowerCase() === ".npy") {
    if (key !== undefined) throw new UserError(`${path} holds one array: --key is for checkpoints`);
    return { ...(await readMatrix(path, path)), others: [], guessed: false };
  }
  const folder = await makeTemporaryFolder("mixhead-");
  try {
    const rows = join(folder, "rows.npy");
    const found = await askPython(path, rows, key);
    return { ...(await readMatrix(rows, path)), ...found };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a user should know of how the tensor was found, a line each. */
export function remarks({ key, others, guessed }: FoundPrototypes): string[] {
  return [
    ...(guessed ? [`(no name tells; ${key} is the last layer of a projector; --key chooses)`] : []),
    ...(others.length > 0 ? [`(also there: ${others.join(", ")}; --key chooses)`] : []),
  ];
}

async function readMatrix(file: string, source: string): Promise<Rows> {
  const { shape, data } = await readNpy(file);
  const [rows = 0, dim = 0] = shape;
  if (shape.length !== 2 || rows === 0 || dim === 0) {
    throw new UserError(
      `${source} holds ${shape.join(" x ") || "a single number"}; prototypes x dimensions are needed`,
    );
  }
  return { rows, dim, data };
}

const answer = z.strictObject({ key: z.string(), others: z.array(z.string()), guessed: z.boolean() });
/** What execFile rejects with. */
const failure = z.object({ code: z.unknown(), stderr: z.string() });

/** Has `mixhead.checkpoint` write the rows to `out`. It exits with 2, and one sentence, where the file is to blame. */
async function askPython(path: string, out: string, key?: string): Promise<z.infer<typeof answer>> {
  const args = [
    "-m",
    "mixhead.checkpoint",
    path,
    "--out",
    resolve(out),
    ...(key === undefined ? [] : [`--key=${key}`]),
  ];
  // A module of the current folder must not stand in for one of Python's.
  const env = { ...process.env, PYTHONSAFEPATH: "1", PYTHONPATH: pythonEnv };
  try {
    const { stdout } = await promisify(execFile)(pythonPath(), args, { env });
    return answer.parse(JSON.parse(stdout));
  } catch (error) {
    const { data } = failure.safeParse(error);
    const last = data?.stderr.trim().split("\n").at(-1) ?? "";
    if (data?.code === 2) throw new UserError(last, { cause: error });
    if (data === undefined) throw error;
    throw new RunError("worker-failed", `Python could not read ${path}: ${last}`, { cause: error });
  }
}
