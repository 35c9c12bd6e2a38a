import { resolveConfig } from "../../src/config/load.ts";
import type { MixtureParts } from "../../src/mixture/mixture.ts";

/** Small, so that many steps take minutes. */
const K = 12;
export const [D, ROWS] = [6, 8];

const responsibilities = { from: "responsibility", balance: "none" };
/** Idle after few steps, so that components start again all the time. */
const restless = { share: 1, idle: 2 };

/** Every covariance, every way to weigh, forget and come into use; targets are r itself, or are balanced. */
const settings: Record<string, { plugin: object; targets: object }> = {
  defaults: { plugin: {}, targets: responsibilities },
  "defaults, Sinkhorn targets": { plugin: {}, targets: {} },
  "preset paper": { plugin: { preset: "paper" }, targets: responsibilities },
  "preset paper, no floor, short memory": {
    plugin: { preset: "paper", floor: 0, forgetting: { by: "responsibility", retention: 0.5 }, annealing: 1 },
    targets: responsibilities,
  },
  "diagonal, restless": { plugin: { covariance: "diagonal", use: restless }, targets: responsibilities },
  "spherical, estimated weights, restless": {
    plugin: { covariance: "spherical", weights: "estimated", weightRate: 1, use: restless },
    targets: responsibilities,
  },
  "spherical, no memory, no floor": {
    plugin: {
      covariance: "spherical",
      floor: 0,
      forgetting: { retention: 0 },
      prior: { strength: 0 },
      use: { share: 0 },
    },
    targets: responsibilities,
  },
  "shared, narrow, estimated weights, cutoff": {
    plugin: { variance: 1e-4, weights: "estimated", cutoff: 0.05, prior: { strength: 0 }, use: { share: 0 } },
    targets: responsibilities,
  },
  "shared, forgetting by time, centered targets": {
    plugin: { forgetting: { by: "time", retention: 0.5 }, prior: { strength: 0 }, use: { share: 0 } },
    targets: { balance: "center", temperature: 1e-3 },
  },
  "three mixtures, diagonal, from data": {
    plugin: { covariance: "diagonal", mixtures: 3, weights: "estimated", init: { from: "data" } },
    targets: { from: "responsibility" },
  },
};

export interface Setting {
  name: string;
  parts: MixtureParts;
  /** Whether the targets are r. */
  responsibilities: boolean;
}

export const hardSettings: readonly Setting[] = Object.entries(settings).map(
  ([name, { plugin, targets }]) => {
    const config = resolveConfig({
      plugin: { components: K, ...plugin },
      targets: { by: "plugin", ...targets },
    });
    return {
      name,
      parts: { plugin: config.plugin, targets: config.targets },
      responsibilities: targets === responsibilities,
    };
  },
);
