/**
 * The online mixture in plain loops and float64, equation by equation: what every backend is held to.
 * Nothing here is shared with src/.
 */
export interface ReferenceOptions {
  covariance: "shared" | "spherical" | "diagonal";
  /** shared: tau at beta = 1. */
  variance: number;
  floor: number;
  /** v_0. */
  initialVariance: number;
  weights: "uniform" | "estimated";
  /** rho. */
  weightRate: number;
  forgetting: { by: "responsibility" | "time" | "nothing"; retention: number };
  count: number;
  cutoff: number;
}

export interface Component {
  /** n, s, q, pi, mu, sigma2 (one for each dimension), c and m. */
  n: number;
  s: number[];
  q: number[];
  pi: number;
  mu: number[];
  sigma2: number[];
  c: number[];
  m: number[];
}

const dot = (a: number[], b: number[]) => a.reduce((sum, value, d) => sum + value * (b[d] ?? 0), 0);
const add = (a: number[], b: number[]) => a.map((value, d) => value + (b[d] ?? 0));
const scale = (factor: number, a: number[]) => a.map((value) => factor * value);
const squares = (a: number[]) => a.map((value) => value * value);
const total = (a: number[]) => a.reduce((sum, value) => sum + value, 0);
const mean = (a: number[]) => total(a) / a.length;

/** The start: n = count, s = count mu, q = count (mu^2 + v_0), with the prior's m. */
export function begin(means: number[][], starts: number[][], options: ReferenceOptions): Component[] {
  return means.map((mu, k) => ({
    n: options.count,
    s: scale(options.count, mu),
    q: scale(
      options.count,
      squares(mu).map((square) => square + options.initialVariance),
    ),
    pi: 1 / means.length,
    mu,
    sigma2: mu.map(() => Math.max(options.initialVariance, options.floor)),
    c: scale(1 / Math.sqrt(dot(mu, mu)), mu),
    m: starts[k] ?? [],
  }));
}

/** log r_ik = beta [log pi_k + log N(h_i; mu_k, sigma2_k)] - logsumexp over k; then the cutoff. */
function responsibilities(
  h: number[][],
  components: Component[],
  beta: number,
  options: ReferenceOptions,
): number[][] {
  return h.map((row) => {
    const logits = components.map(({ pi, mu, sigma2, c }) => {
      const logDensity =
        options.covariance === "shared"
          ? dot(row, c) / options.variance
          : -0.5 *
            total(
              row.map((value, d) => {
                const variance = sigma2[d] ?? 0;
                return (value - (mu[d] ?? 0)) ** 2 / variance + Math.log(2 * Math.PI * variance);
              }),
            );
      return beta * (Math.log(pi) + logDensity);
    });
    const largest = Math.max(...logits);
    const sum = total(logits.map((logit) => Math.exp(logit - largest)));
    const r = logits.map((logit) => Math.exp(logit - largest) / sum);
    const kept = r.map((value) => (value >= Math.min(options.cutoff, Math.max(...r)) ? value : 0));
    return scale(1 / total(kept), kept);
  });
}

/** One step: E with the components as they are, then M; `a` is the prior's strength. */
export function step(
  h: number[][],
  components: Component[],
  { beta, a }: { beta: number; a: number },
  options: ReferenceOptions,
): { r: number[][]; components: Component[] } {
  const r = responsibilities(h, components, beta, options);
  const column = (k: number) => r.map((row) => row[k] ?? 0);
  const updated = components.map((component, k) => {
    const share = column(k);
    const weighted = (rows: number[][]) =>
      rows.reduce((sum, row, i) => add(sum, scale(share[i] ?? 0, row)), scale(0, component.s));
    const { d, g } = forget(total(share), options);
    const n = d * component.n + g * total(share);
    const s = add(scale(d, component.s), scale(g, weighted(h)));
    const q = add(scale(d, component.q), scale(g, weighted(h.map(squares))));
    return estimate({ ...component, n, s, q }, a, options);
  });
  return { r, components: options.weights === "estimated" ? reweigh(updated, r, options) : updated };
}

/** d = lambda^w and g = (1 - d) / ((1 - lambda) w), or their stand-ins. */
function forget(w: number, { forgetting: { by, retention } }: ReferenceOptions): { d: number; g: number } {
  if (by === "time") return { d: retention, g: 1 };
  if (w < 1e-30) return { d: 1, g: 0 };
  if (by === "nothing" || retention === 1) return { d: 1, g: 1 };
  const d = retention ** w;
  return { d, g: -Math.expm1(w * Math.log(retention)) / ((1 - retention) * w) };
}

/** How many consecutive dimensions share a variance. */
function covers({ covariance }: ReferenceOptions, dim: number): number {
  return covariance === "spherical" ? dim : 1;
}

/** mu = (s + a m) / (n + a), sigma2 = (q + a (m^2 + v_0)) / (n + a) - mu^2, c = mu / |mu|. */
function estimate(component: Component, a: number, options: ReferenceOptions): Component {
  const { n, s, q, m, c } = component;
  if (n + a < 1e-12) return component;
  const mu = scale(1 / (n + a), add(s, scale(a, m)));
  const second = add(
    q,
    scale(
      a,
      squares(m).map((square) => square + options.initialVariance),
    ),
  );
  const perDimension = add(scale(1 / (n + a), second), scale(-1, squares(mu)));
  const size = covers(options, s.length);
  const sigma2 = perDimension.map((_, d) => mean(perDimension.slice(d - (d % size), d - (d % size) + size)));
  const length = Math.sqrt(dot(mu, mu));
  return {
    ...component,
    mu,
    sigma2: sigma2.map((variance) => Math.max(variance, options.floor)),
    c: length < 1e-12 ? c : scale(1 / length, mu),
  };
}

/** pi <- (1 - rho) pi + rho w / N, at least 1e-12, renormalised. */
function reweigh(components: Component[], r: number[][], { weightRate }: ReferenceOptions): Component[] {
  const moved = components.map(({ pi }, k) => {
    const w = total(r.map((row) => row[k] ?? 0));
    return Math.max((1 - weightRate) * pi + (weightRate * w) / r.length, 1e-12);
  });
  return components.map((component, k) => ({ ...component, pi: (moved[k] ?? 0) / total(moved) }));
}
