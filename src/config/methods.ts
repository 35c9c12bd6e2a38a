import { z } from "zod";
import { overlay } from "./overlay.ts";
import type { Config } from "./schema.ts";

/** Defaults of methods: their targets, and a learning rate that works here. */
const DEFAULTS = new Map<unknown, object>([
  ["ibot", { train: { lr: 0.0003 } }],
  // The student makes its own codes, without a teacher to stabilise them: at 0.003 the joint arm soon gets worse.
  ["swav", { targets: { temperature: 0.05 }, train: { lr: 0.001 } }],
  // Sharpened targets, with a quarter of the student's temperature.
  ["msn", { targets: { temperature: 0.025 } }],
  ["pmsn", { targets: { temperature: 0.025 } }],
]);

/** CARP's targets with `targets.balance=none`, as in its paper: as sharp as the student's predictions. */
const UNBALANCED_CARP = { targets: { temperature: 0.1 } };

/** Methods whose losses, lightly's, make their own targets. */
const OWN_TARGETS: readonly string[] = ["msn", "pmsn"];
/** The settings of targets that carp.balance=block needs. */
const IN_BLOCKS = [
  ["from", "similarity"],
  ["by", "rank"],
  ["balance", "sinkhorn"],
  ["memory", 0],
] as const;
/** Encoders that are known to have no patches; the worker checks those of timm. */
const NO_PATCHES: readonly string[] = ["conv-small", "resnet18-32"];

/** The settings that decide the defaults. Errors in them are left to the schema. */
const deciding = z
  .object({ method: z.unknown(), targets: z.object({ balance: z.unknown() }).partial().catch({}) })
  .partial()
  .catch({});

/** Adds the defaults of the method to settings. */
export function withMethod(settings: unknown): unknown {
  const { method, targets } = deciding.parse(settings);
  const unbalanced = method === "carp" && targets?.balance === "none";
  const defaults = unbalanced ? UNBALANCED_CARP : DEFAULTS.get(method);
  return defaults === undefined ? settings : overlay(defaults, settings);
}

/** Whether the method's loss needs targets. The losses of MSN and PMSN make their own. */
export function takesTargets({ method }: Pick<Config, "method">): boolean {
  return !OWN_TARGETS.includes(method);
}

/**
 * Whether the plugin's side makes the targets of a decoupled arm. By default a rank makes targets of similarities
 * itself, from its embeddings and the prototypes, with the function of the joint arm.
 */
export function pluginMakesTargets(config: Pick<Config, "method" | "targets">): boolean {
  const { from, by } = config.targets;
  return takesTargets(config) && (from !== "similarity" || by === "plugin");
}

/** Prototypes in each of CARP's blocks: 512 as in the paper, or K / 8 if that is less. */
export function carpBlock(components: number): number {
  return Math.min(512, Math.floor(components / 8));
}

/** The problem with the settings of a method, in one sentence; null if there is none. */
export function methodProblem(config: Config): string | null {
  return carpProblem(config) ?? problemOf(config);
}

function carpProblem({ carp, method, plugin: { components }, targets }: Config): string | null {
  if (method !== "carp") {
    if (carp.partition === "step" && carp.balance === "all") return null;
    return `carp.partition and carp.balance need method carp, the only one that divides the prototypes into blocks: method is ${method}; allowed: carp`;
  }
  const block = carpBlock(components);
  if (block < 2 || components % block !== 0) {
    return `method carp divides the prototypes into blocks of 512, or of an eighth of them if that is less: plugin.components is ${components}; allowed: multiples of 8 from 16 to 4096, and multiples of 512`;
  }
  if (carp.balance === "all") return null;
  const wrong = IN_BLOCKS.find(([key, value]) => targets[key] !== value);
  if (wrong === undefined) return null;
  const [key, allowed] = wrong;
  return `carp.balance=block makes the rank balance each batch in its blocks: targets.${key} is ${targets[key]}; allowed: ${allowed}`;
}

function problemOf({ method, encoder, prototypes, targets, train, views }: Config): string | null {
  if (views.global + views.local < 2) {
    return "a view learns from the other views of its image: views.global + views.local is 1; allowed: 2 and more";
  }
  if (method === "ibot" && NO_PATCHES.includes(encoder.name)) {
    return `method ibot hides patches, so encoder.name must be a vision transformer such as vit-tiny-32; ${encoder.name} has no patches`;
  }
  if (method === "swav" && targets.balance !== "sinkhorn") {
    return `method swav balances its codes by Sinkhorn-Knopp: targets.balance is ${targets.balance}; allowed: sinkhorn`;
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
