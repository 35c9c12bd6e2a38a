import { join } from "node:path";
import { z } from "zod";
import type { RankResult, Rows } from "../bridge/room.ts";
import { RunError } from "../errors.ts";
import { readSafetensors, writeSafetensors } from "../files/safetensors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { effectiveRank } from "../metrics/rank.ts";
import { geometryInUse } from "../metrics/uniqueness.ts";
import { usage } from "../metrics/usage.ts";
import type { MetricsLine } from "./metrics-log.ts";

/** What a rank found on the teacher, and the prototypes that it was found with. */
export interface Evaluation {
  step: number;
  scalars: Record<string, number>;
  /**
   * prototypes (K, D); wins (K) over the un-augmented training images; sample (S, D), labels (S) of test
   * images; classCounts (C): training images of each class.
   */
  tensors: NamedTensors;
  /** Empty if there are many or they are unknown. */
  classNames: string[];
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
  return {
    step: result.step,
    scalars: result.scalars,
    tensors,
    classNames: namesIn(result.text.classNames),
  };
}

/**
 * The measures of an evaluation: what the rank found; uniqueness, usage, both together and effective rank of
 * the prototypes, and the embeddings' effective rank.
 */
export async function measure({ step, scalars, tensors }: Evaluation): Promise<MetricsLine> {
  const { prototypes, wins, sample } = tensors;
  if (prototypes === undefined || wins === undefined || sample === undefined)
    throw new RunError("internal", "an evaluation without prototypes");
  const rows = matrix(prototypes);
  const { unique, distinctUsed } = await geometryInUse(rows, wins.data);
  return {
    step,
    ...scalars,
    unique,
    distinctUsed,
    ...usage(wins.data),
    effectiveRank: await effectiveRank(rows),
    embeddingRank: await effectiveRank(matrix(sample), { source: "the embeddings of test images" }),
  };
}

function matrix({ shape: [rows = 0, dim = 0], data }: NamedTensors[string]) {
  return { rows, dim, data };
}

/** Keeps the last evaluation's tensors beside the metrics: the report draws them. */
export async function saveEvaluation(
  folder: string,
  { step, tensors, classNames }: Evaluation,
): Promise<void> {
  const metadata = { step: String(step), classNames: JSON.stringify(classNames) };
  await writeSafetensors(join(folder, FILE), tensors, metadata);
}

export async function loadEvaluation(folder: string): Promise<Pick<Evaluation, "tensors" | "classNames">> {
  const { tensors, metadata } = await readSafetensors(join(folder, FILE));
  return { tensors, classNames: namesIn(metadata.classNames) };
}

/** Names only label a picture: without them it has numbers. */
function namesIn(json = "[]"): string[] {
  try {
    return z.array(z.string()).parse(JSON.parse(json));
  } catch {
    return [];
  }
}
