import { UserError } from "../errors.ts";
import type { Rows } from "../files/rows.ts";

/**
 * The rows at unit length in float64, N x D, row-major; the given ones stay as they are. A row that
 * is not finite or all zero is a UserError with `source` and the row, counted from 0.
 */
export function unitFloat64({ rows, dim, data }: Rows, source: string): Float64Array {
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

/** The product of rows `i` and `j` of a row-major matrix, `dim` wide. */
export function dot(data: Float64Array, dim: number, i: number, j: number): number {
  let sum = 0;
  for (let a = i * dim, b = j * dim, end = a + dim; a < end; a++, b++) sum += (data[a] ?? 0) * (data[b] ?? 0);
  return sum;
}
