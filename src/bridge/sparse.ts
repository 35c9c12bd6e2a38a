import type { Tensors } from "./codec.ts";

/**
 * Target rows, n x k, as the tensors of a message: dense "targets", or sparse (CSR) "targets.offsets",
 * "targets.columns", "targets.values" if that is smaller. Only +0 is left out, so both forms hold the same bits.
 */
export function targetTensors(data: Float32Array, n: number, k: number): Tensors {
  const entries = countEntries(data, Math.floor((data.length - n - 2) / 2));
  if (entries === undefined) return denseTargets(data, n, k);
  const offsets = new Int32Array(n + 1);
  const columns = new Int32Array(entries);
  const values = new Float32Array(entries);
  const bits = bitsOf(data);
  let at = 0;
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < k; column++) {
      const index = row * k + column;
      if (bits[index] === 0) continue;
      columns[at] = column;
      values[at++] = data[index] ?? 0;
    }
    offsets[row + 1] = at;
  }
  return {
    "targets.offsets": { dtype: "int32", shape: [n + 1], data: offsets },
    "targets.columns": { dtype: "int32", shape: [entries], data: columns },
    "targets.values": { dtype: "float32", shape: [entries], data: values },
  };
}

/** Dense target rows, n x k, for a client that does not read sparse ones. */
export function denseTargets(data: Float32Array, n: number, k: number): Tensors {
  return { targets: { dtype: "float32", shape: [n, k], data } };
}

/** The number of entries that are not +0; undefined if there are more than `most`. */
function countEntries(data: Float32Array, most: number): number | undefined {
  const bits = bitsOf(data);
  let entries = 0;
  for (let i = 0; i < bits.length; i++) {
    if (bits[i] !== 0 && ++entries > most) return undefined; // an index is eight times as fast as for-of
  }
  return entries;
}

/** The bit patterns, which tell -0 from +0. */
function bitsOf(data: Float32Array): Int32Array {
  return new Int32Array(data.buffer, data.byteOffset, data.length);
}
