import jstat from "jstat";

/** Half the width of the 95 % interval of a mean of n values, in standard errors (Student's t); NaN for n below 2. */
export function reachOf(n: number): number {
  return n < 2 ? Number.NaN : jstat.studentt.inv(0.975, n - 1);
}

/** The two-sided p-value of `t` with `freedom` degrees of freedom. */
export function twoSided(t: number, freedom: number): number {
  return 2 * jstat.studentt.cdf(-Math.abs(t), freedom);
}
