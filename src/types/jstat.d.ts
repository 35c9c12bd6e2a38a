declare module "jstat" {
  const jstat: {
    studentt: {
      /** Quantile of Student's t: P(T <= inv(p, dof)) = p. */
      inv(p: number, dof: number): number;
      cdf(x: number, dof: number): number;
    };
  };
  export default jstat;
}
