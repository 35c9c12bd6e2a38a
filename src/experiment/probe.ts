import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { RankResult } from "../bridge/room.ts";
import { RunError, UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { parseJson } from "../files/json.ts";
import { readSafetensors, writeSafetensors } from "../files/safetensors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { type ProbeFigures, probeFigures } from "../report/probe-figures.ts";

/** What a rank finds once, at the end of its training. */
export interface Probe {
  figures: ProbeFigures;
  /**
   * Training images near sample prototypes. nearestPrototypes (P): rows of the prototypes, most wins first.
   * nearestImages (P, 8, S, S, 3): 0 to 255, the closest first. nearestLabels (P, 8).
   */
  nearest: NamedTensors;
}

const FIGURES = "evaluation.json";
const NEAREST = "nearest.safetensors";

/** @throws RunError if the result is not one of `probe`. */
export function readProbe({ text, tensors }: RankResult): Probe {
  const parsed = probeFigures.safeParse(parseJson(text.evaluation ?? ""));
  if (!parsed.success)
    throw new RunError("protocol", `the worker's probe is not one: ${z.prettifyError(parsed.error)}`);
  const nearest: NamedTensors = {};
  for (const name of ["nearestPrototypes", "nearestImages", "nearestLabels"]) {
    const tensor = tensors[name];
    if (tensor === undefined) throw new RunError("protocol", `the worker's probe has no ${name}`);
    nearest[name] = { shape: tensor.shape, data: Float32Array.from(tensor.data) };
  }
  return { figures: parsed.data, nearest };
}

/** Leaves evaluation.json and nearest.safetensors beside a training's metrics. */
export async function saveProbe(folder: string, { figures, nearest }: Probe): Promise<void> {
  await writeSafetensors(join(folder, NEAREST), nearest);
  await writeAtomic(join(folder, FIGURES), [`${JSON.stringify(figures)}\n`]);
}

/** Removes the probe of a training that resumes: it is no longer at its end. */
export async function forgetProbe(folder: string): Promise<void> {
  for (const file of [FIGURES, NEAREST]) await rm(join(folder, file), { force: true });
}

/** A training's evaluation.json; null if it was not probed. @throws UserError if it is damaged. */
export async function loadFigures(folder: string): Promise<ProbeFigures | null> {
  const path = join(folder, FIGURES);
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) return null;
  const parsed = probeFigures.safeParse(parseJson(text));
  if (!parsed.success) throw new UserError(`${path} is damaged: mixhead evaluate --json gives it anew`);
  return parsed.data;
}

/** A training's nearest.safetensors, as in `Probe`; null if it was not probed. @throws UserError if it is damaged. */
export async function loadNearest(folder: string): Promise<NamedTensors | null> {
  const path = join(folder, NEAREST);
  return existsSync(path) ? (await readSafetensors(path)).tensors : null;
}
