import { shared } from "./online-gmm/covariance.ts";
import { hard } from "./online-gmm/e-step.ts";
import { OnlineMixture } from "./online-gmm/online-mixture.ts";
import { mixtureOptions, type OnlineGmmOptions } from "./online-gmm.ts";
import type { PrototypePlugin } from "./plugin.ts";

/**
 * Spherical k-means, the limit of a mixture with shared covariance as its variance goes to 0. Each
 * embedding belongs to the prototype with the largest h . c, the first of equal ones. Forgetting, start
 * and prior work as in the mixture; covariance, weights, annealing and cutoff have no effect.
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
