import { reachOf, twoSided } from "../metrics/student.ts";
import type { PairedTest } from "../report/summary.ts";

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The 95 % interval of the mean by Student's t with n - 1 degrees of freedom; null for fewer than two values. */
export function interval(values: readonly number[]): [number, number] | null {
  if (values.length < 2) return null;
  const reach = reachOf(values.length) * standardError(values);
  return [mean(values) - reach, mean(values) + reach];
}

/**
 * Whether `a` and `b`, measured pair by pair under the same conditions (here: seeds), differ in the
 * mean; null for fewer than two pairs. It takes the differences to be normally distributed, which
 * so few values cannot show.
 */
export function pairedTest(a: readonly number[], b: readonly number[]): PairedTest | null {
  const differences = a.flatMap((value, at) => {
    const other = b[at];
    return other === undefined ? [] : [value - other];
  });
  const around = interval(differences);
  if (around === null) return null;
  const centre = mean(differences);
  return {
    mean: centre,
    interval: around,
    p: chanceOf(centre, standardError(differences), differences.length - 1),
  };
}

/** The chance of a t as far from 0 as centre / error, with so many degrees of freedom. */
function chanceOf(centre: number, error: number, freedom: number): number {
  if (centre === 0) return 1;
  if (error === 0) return 0;
  return twoSided(centre / error, freedom);
}

/** Of the mean of independent values. */
function standardError(values: readonly number[]): number {
  const centre = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}
