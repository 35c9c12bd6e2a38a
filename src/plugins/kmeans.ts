import { shared } from "./online-gmm/covariance.ts";
import { hard } from "./online-gmm/e-step.ts";
import { OnlineMixture } from "./online-gmm/online-mixture.ts";
import { mixtureOptions, type OnlineGmmOptions } from "./online-gmm.ts";
import type { PrototypePlugin } from "./plugin.ts";

/**
 * Spherical k-means, the limit of the shared covariance as its variance goes to 0: each embedding
 * belongs to the prototype with the largest h . c, the first one of equals. Forgetting, start and
 * prior are the mixture's; covariance, weights, annealing and cutoff mean nothing here.
 */
export function kmeans(options: OnlineGmmOptions): PrototypePlugin {
  const covariance = shared(1, false);
  return new OnlineMixture({
    ...mixtureOptions(options, covariance),
    name: "kmeans",
    assign: hard(covariance, options.mixtures),
    weightRate: undefined,
  });
}
