import jstat from "jstat";

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The 95 % interval of the mean by Student's t with n - 1 degrees of freedom; null for fewer than two values. */
export function interval(values: readonly number[]): [number, number] | null {
  const n = values.length;
  if (n < 2) return null;
  const centre = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (n - 1);
  const reach = jstat.studentt.inv(0.975, n - 1) * Math.sqrt(variance / n);
  return [centre - reach, centre + reach];
}
