import { join } from "node:path";
import type { RankResult, Rows } from "../bridge/room.ts";
import { RunError } from "../errors.ts";
import { readSafetensors, writeSafetensors } from "../files/safetensors.ts";
import { uniqueness } from "../metrics/uniqueness.ts";
import { usage } from "../metrics/usage.ts";
import type { NamedTensors } from "../plugins/plugin.ts";
import type { MetricsLine } from "./metrics-log.ts";

/** What a rank found on the teacher, and the prototypes that it was found with. */
export interface Evaluation {
  step: number;
  scalars: Record<string, number>;
  /** prototypes (K, D); wins (K) over the un-augmented training images; sample (S, D), labels (S) of test images. */
  tensors: NamedTensors;
}

const FILE = "evaluation.safetensors";

/** @param own the mixture's prototypes; a joint arm's come with the result. */
export function readEvaluation(result: RankResult, own: Rows | undefined): Evaluation {
  const tensors: NamedTensors = {};
  for (const [name, { shape, data }] of Object.entries(result.tensors)) {
    tensors[name] = { shape, data: Float32Array.from(data) };
  }
  if (own !== undefined) tensors.prototypes = { shape: [own.n, own.d], data: own.data };
  for (const name of ["prototypes", "wins", "sample", "labels"]) {
    if (tensors[name] === undefined) throw new RunError("protocol", `the worker's evaluation has no ${name}`);
  }
  return { step: result.step, scalars: result.scalars, tensors };
}

/** The measures of an evaluation: k-NN as the rank found it, uniqueness and usage of the prototypes. */
export async function measure({ step, scalars, tensors }: Evaluation): Promise<MetricsLine> {
  const { prototypes, wins } = tensors;
  if (prototypes === undefined || wins === undefined)
    throw new RunError("internal", "an evaluation without prototypes");
  const [rows = 0, dim = 0] = prototypes.shape;
  return {
    step,
    ...scalars,
    unique: await uniqueness({ rows, dim, data: prototypes.data }),
    ...usage(wins.data),
  };
}

/** Keeps the last evaluation's tensors beside the metrics: the report draws them. */
export async function saveEvaluation(folder: string, { step, tensors }: Evaluation): Promise<void> {
  await writeSafetensors(join(folder, FILE), tensors, { step: String(step) });
}

export async function loadEvaluation(folder: string): Promise<NamedTensors> {
  return (await readSafetensors(join(folder, FILE))).tensors;
}
