import type { FileHandle } from "node:fs/promises";
import { fromBfloat16, fromFloat16 } from "./halves.ts";

/**
 * The number formats that files hold, little-endian, and how each becomes float32. Integers above
 * 2^24 and float64 are rounded to the nearest float32.
 */
export const formats = {
  float64: { bytes: 8, read: (view: DataView, at: number) => view.getFloat64(at, true) },
  float32: { bytes: 4, read: (view: DataView, at: number) => view.getFloat32(at, true) },
  float16: { bytes: 2, read: (view: DataView, at: number) => fromFloat16(view.getUint16(at, true)) },
  bfloat16: { bytes: 2, read: (view: DataView, at: number) => fromBfloat16(view.getUint16(at, true)) },
  int64: { bytes: 8, read: (view: DataView, at: number) => Number(view.getBigInt64(at, true)) },
  int32: { bytes: 4, read: (view: DataView, at: number) => view.getInt32(at, true) },
  uint8: { bytes: 1, read: (view: DataView, at: number) => view.getUint8(at) },
} as const;

export type Format = keyof typeof formats;

/** A multiple of every format's size. */
const CHUNK_BYTES = 1 << 24;

/**
 * Reads `count` numbers from a position of an open file into float32, a chunk at a time, so that
 * files above Node's 2 GiB limit of one read work. The caller has checked that the file is long enough.
 *
 * `width`: the numbers are rows of this length, of which only the direction matters. A float64 row that float32 cannot
 * hold is divided by its largest entry. A row that is not finite or all zero stays so.
 */
export async function readNumbers(
  file: FileHandle,
  position: number,
  format: Format,
  count: number,
  width?: number,
): Promise<Float32Array<ArrayBuffer>> {
  const { bytes, read } = formats[format];
  const data = new Float32Array(count);
  const rowBytes = format === "float64" ? (width ?? 0) * bytes : 0;
  const wholeRows = rowBytes > 0 ? Math.ceil(CHUNK_BYTES / rowBytes) * rowBytes : CHUNK_BYTES;
  const chunk = Buffer.alloc(Math.min(wholeRows, count * bytes));
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  for (let done = 0; done < count; ) {
    const wanted = Math.min(chunk.length, (count - done) * bytes);
    await readExactly(file, chunk.subarray(0, wanted), position + done * bytes);
    const from = done;
    for (let at = 0; at < wanted; at += bytes) data[done++] = read(view, at);
    if (rowBytes > 0) bringIntoReach(data.subarray(from, done), view, rowBytes / bytes);
  }
  return data;
}

/** The largest float32. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;
/** The least float32 of full precision: a row below it would lose digits, or vanish. */
const LEAST_NORMAL = 2 ** -126;

/** Divides each row of float64 that float32 cannot hold by its largest entry, from `view` into `data`. */
function bringIntoReach(data: Float32Array, view: DataView, width: number): void {
  for (let start = 0; start < data.length; start += width) {
    let largest = 0;
    for (let at = start; at < start + width; at++) {
      largest = Math.max(largest, Math.abs(view.getFloat64(at * 8, true)));
    }
    const overflows = largest > LARGEST && largest < Infinity;
    const vanishes = largest < LEAST_NORMAL && largest > 0;
    if (!overflows && !vanishes) continue;
    for (let at = start; at < start + width; at++) data[at] = view.getFloat64(at * 8, true) / largest;
  }
}

/** Fills `target` from a position of a file; a file that ends before is a RangeError. */
export async function readExactly(file: FileHandle, target: Uint8Array, position: number): Promise<void> {
  for (let filled = 0; filled < target.length; ) {
    const { bytesRead } = await file.read(target, filled, target.length - filled, position + filled);
    if (bytesRead === 0) throw new RangeError("the file ended while it was being read");
    filled += bytesRead;
  }
}

/** The bytes of float32 numbers as files hold them: little-endian, like every machine that Node 20 runs on here. */
export function bytesOf(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}
