import type { Tensor, Tensors } from "./codec.ts";
import { BatchError, WireError } from "./errors.ts";
import type { Header } from "./protocol.ts";
import type { Batch, Rows } from "./room.ts";

/** What one rank sent for a step. */
export interface Sent {
  epoch: number;
  scalars: Record<string, number>;
  rows?: Rows;
  /** The number of rows that stay on its device; 0: none. */
  announced: number;
  metrics?: Float32Array;
}

/** What one rank sent, or why it was refused. */
export type Part = Sent | BatchError;

type Embeddings = Extract<Header, { type: "embeddings" }>;

/** Reads and checks a rank's part of a step. Throws BatchError. */
export function readPart({ epoch, scalars, announced }: Embeddings, tensors: Tensors, dim: number): Sent {
  const { h, metrics, ...others } = tensors;
  if (Object.keys(others).length > 0) throw new BatchError("shape", 'embeddings carry "h" and "metrics"');
  if (h && announced > 0) throw new BatchError("shape", "rows are sent or announced, not both");
  const part: Sent = { epoch, scalars, announced };
  if (h) part.rows = rowsOf(h, dim);
  if (metrics) part.metrics = vectorOf(metrics);
  return part;
}

function vectorOf({ dtype, shape, data }: Tensor): Float32Array {
  if (dtype === "float32" && shape.length === 1) return data;
  throw new BatchError(dtype === "float32" ? "shape" : "dtype", "metrics are a vector of float32");
}

/** A rank's rows, checked: N x D with the right D, every row finite and not all zero. */
function rowsOf(h: Tensor, dim: number): Rows {
  const [n = 0, d = 0] = h.shape;
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

/** The first row that is not finite or is all zero; -1: none. */
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

/** Any error of reading a part or taking a step, as the BatchError that the rank is told. */
export function asBatchError(error: unknown): BatchError {
  if (error instanceof BatchError) return error;
  const code = error instanceof WireError && error.code !== "version" ? error.code : "plugin";
  return new BatchError(code, error instanceof Error ? error.message : String(error), -1, { cause: error });
}

/** Merges the ranks' parts, in rank order, into one batch. Throws BatchError if they do not match. */
export function merge(step: number, parts: Sent[]): Batch {
  const batch: Batch = { step, epoch: parts[0]?.epoch ?? 0, scalars: parts.map((part) => part.scalars) };
  const metrics = parts[0]?.metrics;
  if (metrics) {
    batch.metrics = metrics;
    const drifted = [...parts.keys()].filter((i) => !sameBits(parts[i]?.metrics, metrics));
    if (drifted.length > 0) batch.drifted = drifted;
  }
  const n = parts[0]?.announced ?? 0;
  if (parts.some((part) => part.announced !== n)) {
    const counts = parts.map((part) => part.announced).join(", ");
    throw new BatchError(
      "shape",
      `the ranks announce ${counts} rows, but each rank has to hold the rows of all ranks`,
    );
  }
  if (n > 0) return { ...batch, announced: { n } };
  const rows = mergeRows(parts);
  return rows ? { ...batch, rows } : batch;
}

/** Whether two ranks measured the same bits. A rank that sent no metrics counts as equal. */
function sameBits(one: Float32Array | undefined, other: Float32Array): boolean {
  if (!one) return true;
  const [a, b] = [one, other].map(({ buffer, byteOffset, byteLength }) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  return a !== undefined && b !== undefined && a.equals(b);
}

function mergeRows(parts: Sent[]): Rows | undefined {
  const rows = parts.flatMap((part) => part.rows ?? []);
  if (rows.length === 0) return undefined;
  const d = rows[0]?.d ?? 0;
  const n = rows.reduce((sum, each) => sum + each.n, 0);
  if (rows.length < parts.length) throw new BatchError("shape", "some ranks sent rows and others none");
  if (rows.some((each) => each.d !== d)) throw new BatchError("shape", "the ranks' rows differ in D");
  if (n === 0) throw new BatchError("shape", "there are no rows in this step");
  const [only] = rows;
  if (rows.length === 1 && only) return only;
  const data = new Float32Array(n * d);
  let at = 0;
  for (const each of rows) {
    data.set(each.data, at);
    at += each.data.length;
  }
  return { data, n, d };
}

/**
 * Assigns an error of the merged batch to the parts. If a row that was sent is at fault, its rank's part becomes the
 * error, with the row's number in that part, and the other parts stay. Otherwise every part becomes the error, with
 * the row's number if the rows were announced, since all ranks hold those.
 */
export function spread({ code, message, row }: BatchError, parts: Part[]): Part[] {
  const counts = parts.map((part) => (part instanceof BatchError ? 0 : (part.rows?.n ?? 0)));
  const announced = parts.some((part) => !(part instanceof BatchError) && part.announced > 0);
  const place = locate(row, counts);
  return parts.map((part, i) => {
    if (!place) return new BatchError(code, message, announced ? row : -1);
    return i === place.part ? new BatchError(code, message, place.row) : part;
  });
}

/**
 * The error to send to each rank, by the rank's number: its own, or else the first error of another rank, with that
 * error's code instead of "peer", which would mean that a rank was lost.
 */
export function blame(numbers: number[], parts: Part[]): Map<number, BatchError> {
  const first = parts.findIndex((part) => part instanceof BatchError);
  const cause = parts[first];
  if (!(cause instanceof BatchError)) return new Map();
  const others = new BatchError(cause.code, `rank ${numbers[first]}: ${cause.message}`);
  return new Map(
    numbers.map((number, i) => {
      const own = parts[i];
      return [number, own instanceof BatchError ? own : others];
    }),
  );
}

/** The part that a row of the merged batch came from, and the row's number in that part. */
function locate(row: number, counts: number[]): { part: number; row: number } | undefined {
  let start = 0;
  for (const [part, count] of counts.entries()) {
    if (row >= start && row < start + count) return { part, row: row - start };
    start += count;
  }
  return undefined;
}
