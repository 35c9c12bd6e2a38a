import { UserError } from "../errors.ts";
import { readNpy } from "./npy.ts";

/** Embeddings or prototypes: `rows` vectors of `dim` numbers each, row-major. */
export interface Vectors {
  rows: number;
  dim: number;
  data: Float32Array;
}

/** Reads a .npy file of N x D numbers, N and D at least 1, as rows of unit length. */
export async function readUnitRows(path: string): Promise<Vectors> {
  const { shape, data } = await readNpy(path);
  const [rows, dim] = shape;
  if (shape.length !== 2 || rows === undefined || dim === undefined || rows === 0 || dim === 0) {
    const found = shape.length === 0 ? "a single number" : shape.join(" x ");
    throw new UserError(`${path} holds ${found}; rows x dimensions are needed`);
  }
  unitRows(data, dim, path);
  return { rows, dim, data };
}

/**
 * L2-normalises the rows of `data`, each `dim` long, in place. A row that is not finite or all
 * zero is a UserError with `source` and the row, counted from 0; nothing has changed then.
 */
export function unitRows(data: Float32Array, dim: number, source: string): void {
  const lengths = rowLengths(data, dim, source);
  for (let at = 0; at < data.length; at++) data[at] = (data[at] ?? 0) / (lengths[Math.floor(at / dim)] ?? 1);
}

/** The length of each row of `data`, `dim` numbers each; the same errors as `unitRows`. */
export function rowLengths(data: Float32Array, dim: number, source: string): Float64Array {
  const lengths = new Float64Array(data.length / dim);
  for (let row = 0; row < lengths.length; row++) {
    let sum = 0;
    for (let at = row * dim; at < (row + 1) * dim; at++) sum += (data[at] ?? 0) ** 2;
    if (!Number.isFinite(sum)) throw new UserError(`${source}: row ${row} is not finite`);
    if (sum === 0) throw new UserError(`${source}: row ${row} is all zero`);
    lengths[row] = Math.sqrt(sum);
  }
  return lengths;
}
