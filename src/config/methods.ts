import { z } from "zod";
import { METHOD_NAMES, METHODS } from "./method.ts";
import { overlay } from "./overlay.ts";
import type { Config } from "./schema.ts";

/** The settings that decide the defaults. Errors in them are left to the schema. */
const deciding = z
  .object({
    method: z.enum(METHOD_NAMES).catch("dino"),
    targets: z.object({ balance: z.unknown() }).partial().catch({}),
  })
  .partial()
  .catch({});

/** Adds the defaults of the method to settings. */
export function withMethod(settings: unknown): unknown {
  const { method = "dino", targets } = deciding.parse(settings);
  const defaults = METHODS[method].defaults?.(targets?.balance);
  return defaults === undefined ? settings : overlay(defaults, settings);
}

/** Whether the method's loss needs targets. The losses of MSN and PMSN make their own. */
export function takesTargets({ method }: Pick<Config, "method">): boolean {
  return METHODS[method].ownTargets !== true;
}

/**
 * Whether the plugin's side makes the targets of a decoupled arm. By default a rank makes targets of similarities
 * itself, from its embeddings and the prototypes, with the function of the joint arm.
 */
export function pluginMakesTargets(config: Pick<Config, "method" | "targets">): boolean {
  const { from, by } = config.targets;
  return takesTargets(config) && (from !== "similarity" || by === "plugin");
}

/** The problem with the settings of a method, in one sentence; null if there is none. */
export function methodProblem(config: Config): string | null {
  return METHODS[config.method].problem?.(config) ?? problemOf(config);
}

function problemOf({ carp, method, prototypes, targets, train, views }: Config): string | null {
  if (method !== "carp" && (carp.partition !== "step" || carp.balance !== "all")) {
    return `carp.partition and carp.balance need method carp, the only one that divides the prototypes into blocks: method is ${method}; allowed: carp`;
  }
  if (views.global + views.local < 2) {
    return "a view learns from the other views of its image: views.global + views.local is 1; allowed: 2 and more";
  }
  if (targets.memory > 0 && !takesTargets({ method })) {
    return `method ${method} balances each batch by itself: targets.memory is ${targets.memory}; allowed: 0`;
  }
  if (!takesTargets({ method }) && targets.balance === "center") {
    return `method ${method} has no center: targets.balance is center; allowed: sinkhorn, none`;
  }
  if (!takesTargets({ method }) && targets.from !== "similarity") {
    return `method ${method} makes its targets from similarities: targets.from is ${targets.from}; allowed: similarity`;
  }
  if (train.koleo > 0 && prototypes !== "joint") {
    return `train.koleo spreads learned prototypes: prototypes is ${prototypes}; allowed: joint`;
  }
  return null;
}
