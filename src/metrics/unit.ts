import { UserError } from "../errors.ts";
import type { Vectors } from "../files/rows.ts";

/**
 * Normalises rows to unit length in float64, N x D, row-major, in a new array.
 *
 * @param source the name of the rows in the error message
 * @throws UserError if a row is not finite or all zero, with its index from 0
 */
export function unitFloat64({ rows, dim, data }: Vectors, source: string): Float64Array {
  const unit = new Float64Array(rows * dim);
  for (let row = 0; row < rows; row++) {
    const start = row * dim;
    let squares = 0;
    for (let at = start; at < start + dim; at++) squares += (data[at] ?? 0) ** 2;
    if (!Number.isFinite(squares)) throw new UserError(`${source}: row ${row} is not finite`);
    if (squares === 0) throw new UserError(`${source}: row ${row} is all zero`);
    const length = Math.sqrt(squares);
    for (let at = start; at < start + dim; at++) unit[at] = (data[at] ?? 0) / length;
  }
  return unit;
}

/** The dot product of rows `i` and `j` of a row-major matrix, `dim` wide. */
export function dot(data: Float64Array, dim: number, i: number, j: number): number {
  let sum = 0;
  for (let a = i * dim, b = j * dim, end = a + dim; a < end; a++, b++) sum += (data[a] ?? 0) * (data[b] ?? 0);
  return sum;
}
