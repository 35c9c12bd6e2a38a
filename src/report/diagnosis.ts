import type { Usage } from "../metrics/usage.ts";
import { count, percent } from "./format.ts";
import { aligned } from "./table.ts";

/** Measures of collapse, as printed by `diagnose --json`. */
export interface Diagnosis extends Partial<Usage> {
  /** K. */
  prototypes: number;
  /** D. */
  dim: number;
  unique: Record<string, number>;
  /** Cosine distance to the nearest other prototype; NaN if there is only one. */
  nearest: { median: number; p01: number };
  effectiveRank: number;
  /** If use is known. */
  distinctUsed?: Record<string, number>;
}

/** The figures of a diagnosis as plain text for a terminal. */
export function diagnosisTable({
  prototypes,
  dim,
  unique,
  nearest,
  effectiveRank,
  used,
  perplexity,
  distinctUsed,
}: Diagnosis): string {
  const shares = Object.entries(unique);
  const both = distinctUsed && Object.values(distinctUsed);
  const distinct = aligned([
    ["distinct at distance", ...shares.map(([epsilon]) => epsilon)],
    ["prototypes", ...shares.map(([, share]) => count(share * prototypes))],
    ["share", ...shares.map(([, share]) => percent(share))],
    ...(both === undefined
      ? []
      : [
          ["and used", ...both.map((share) => count(share * prototypes))],
          ["share", ...both.map((share) => percent(share))],
        ]),
  ]);
  const rest = aligned([
    ["nearest other, median", distance(nearest.median)],
    ["nearest other, closest 1 %", distance(nearest.p01)],
    ["effective rank", `${effectiveRank.toFixed(1)} of ${count(Math.min(prototypes, dim))}`],
    ...(used === undefined ? [] : [["used prototypes", percent(used)]]),
    ...(perplexity === undefined
      ? []
      : [["perplexity of the wins", `${count(perplexity)} of ${count(prototypes)}`]]),
  ]);
  return `${distinct}\n\n${rest}`;
}

/**
 * The meaning of a diagnosis and advice, in two sentences. `embeddings`: their number N. If it is below
 * 2 K, use is not judged, because N embeddings are won by at most N prototypes.
 */
export function diagnosisWords(
  { prototypes: K, unique, used, distinctUsed }: Diagnosis,
  embeddings = 0,
): string {
  const distinct = unique["0.025"] ?? 1;
  const spread = unique["0.5"] ?? 1;
  const kept = count(distinct * K);
  const both = distinctUsed?.["0.5"];
  const clear = both === undefined ? "" : `, ${percent(both)} win one and are distinct at 0.5`;
  const known = embeddings >= 2 * K ? used : undefined;
  if (distinct < 0.5) {
    return (
      `Of ${count(K)} prototypes ${kept} are truly distinct: the others copy them to within a cosine distance of 0.025, so the head does no more than one with about ${kept} outputs. ` +
      "Choose an output of that width, or estimate the prototypes outside the encoder's loss (prototypes: decoupled), which keeps them from collapsing."
    );
  }
  if (known !== undefined && known < 0.5) {
    return (
      `${percent(distinct)} of the ${count(K)} prototypes are distinct, but only ${percent(known)} win any of the embeddings${clear}: the rest lie where no data is and do no work. ` +
      "Use fewer prototypes, or bring more into play (plugin.use, targets.balance: sinkhorn) and measure again."
    );
  }
  if (spread < 0.5) {
    return (
      `Few of the ${count(K)} prototypes are copies (${percent(distinct)} are distinct at 0.025), but they crowd: only ${count(spread * K)} remain if prototypes within a cosine distance of 0.5 count once. ` +
      "This is a partial collapse: diagnose an earlier checkpoint to see whether it continues, and if so, decouple the prototypes or use fewer."
    );
  }
  if (known !== undefined && both !== undefined && both < known / 2) {
    return (
      `Of the ${count(K)} prototypes ${percent(spread)} are distinct at 0.5, but the used ones crowd: ${percent(known)} win any of the embeddings, and only ${count(both * K)} of these remain if prototypes within a cosine distance of 0.5 count once. ` +
      "This is a partial collapse: diagnose an earlier checkpoint to see whether it continues, and if so, decouple the prototypes or use fewer."
    );
  }
  const advice =
    known !== undefined
      ? `${percent(known)} of them win at least one of the embeddings${clear}, so there is nothing to repair.`
      : `Whether they are used is another question, which --embeddings answers with ${count(2 * K)} embeddings or more.`;
  return `These ${count(K)} prototypes have not collapsed: ${percent(distinct)} are distinct, and ${percent(spread)} still are at a cosine distance of 0.5. ${advice}`;
}

function distance(value: number): string {
  return Number.isNaN(value) ? "–" : value < 0.001 ? value.toExponential(1) : value.toFixed(3);
}
