import jstat from "jstat";

/** How many standard errors the 95 % interval of a mean of n values reaches to either side, by Student's t; NaN for fewer than two. */
export function reachOf(n: number): number {
  return n < 2 ? Number.NaN : jstat.studentt.inv(0.975, n - 1);
}

/** The chance of a t at least as far from 0 on either side, with so many degrees of freedom. */
export function twoSided(t: number, freedom: number): number {
  return 2 * jstat.studentt.cdf(-Math.abs(t), freedom);
}
