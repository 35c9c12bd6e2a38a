import type { Tensors } from "./codec.ts";
import { BatchError, WireError } from "./errors.ts";
import type { Batch, Rows } from "./room.ts";

/** What one rank brought to a step: its rows and scalars, or what is wrong with them. */
export type Part = { epoch: number; scalars: Record<string, number>; rows?: Rows } | BatchError;

/** A rank's rows as they came, checked: N x D of the right D, every row finite and not all zero. */
export function rowsOf(tensors: Tensors, dim: number): Rows | undefined {
  const [entry, ...more] = Object.entries(tensors);
  if (!entry) return undefined;
  const [name, h] = entry;
  const [n = 0, d = 0] = h.shape;
  if (name !== "h" || more.length > 0) throw new BatchError("shape", 'embeddings carry one tensor, "h"');
  if (h.dtype !== "float32")
    throw new BatchError("dtype", `embeddings are float32, float16 or bfloat16, not ${h.dtype}`);
  if (h.shape.length !== 2 || d === 0 || (dim > 0 && d !== dim)) {
    throw new BatchError(
      "shape",
      `embeddings are N x ${dim || "D"}, not ${h.shape.join(" x ") || "a number"}`,
    );
  }
  const bad = badRow(h.data, d);
  if (bad >= 0) throw new BatchError("row", `row ${bad} of the embeddings is not finite or all zero`, bad);
  return { data: h.data, n, d };
}

/** The first row that is not finite or all zero; -1: none. */
function badRow(data: Float32Array, d: number): number {
  for (let start = 0; start < data.length; start += d) {
    let norm = 0;
    for (let i = start; i < start + d; i++) {
      const x = data[i] ?? 0;
      norm += x * x;
    }
    if (!(norm > 0 && norm < Number.POSITIVE_INFINITY)) return start / d;
  }
  return -1;
}

/** Whatever `read` throws, as a rank is told it. */
export function asBatchError(error: unknown): BatchError {
  if (error instanceof BatchError) return error;
  const code = error instanceof WireError && error.code !== "version" ? error.code : "plugin";
  return new BatchError(code, error instanceof Error ? error.message : String(error), -1, { cause: error });
}

/** The ranks' parts, in rank order, as one batch. Throws BatchError where they do not go together. */
export function merge(step: number, parts: Exclude<Part, BatchError>[]): Batch {
  const scalars = parts.map((part) => part.scalars);
  const epoch = parts[0]?.epoch ?? 0;
  const rows = parts.flatMap((part) => part.rows ?? []);
  if (rows.length === 0) return { step, epoch, scalars };
  const d = rows[0]?.d ?? 0;
  const n = rows.reduce((sum, each) => sum + each.n, 0);
  if (rows.length < parts.length) throw new BatchError("shape", "some ranks sent rows and others none");
  if (rows.some((each) => each.d !== d)) throw new BatchError("shape", "the ranks' rows differ in D");
  if (n === 0) throw new BatchError("shape", "there are no rows in this step");
  const [only] = rows;
  if (rows.length === 1 && only) return { step, epoch, scalars, rows: only };
  const data = new Float32Array(n * d);
  let at = 0;
  for (const each of rows) {
    data.set(each.data, at);
    at += each.data.length;
  }
  return { step, epoch, scalars, rows: { data, n, d } };
}

/** Which part a row of the merged batch came from, and where it is there. */
export function locate(row: number, counts: number[]): { part: number; row: number } | undefined {
  let start = 0;
  for (const [part, count] of counts.entries()) {
    if (row >= start && row < start + count) return { part, row: row - start };
    start += count;
  }
  return undefined;
}
