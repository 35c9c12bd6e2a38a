import { z } from "zod";
import { overlay } from "./overlay.ts";
import type { Config } from "./schema.ts";

/** What a method has where the configuration does not say: its targets, and a rate at which it learns here. */
const DEFAULTS = new Map<unknown, object>([
  ["ibot", { train: { lr: 0.0003 } }],
  // Codes of the student's own, with no teacher to hold them: at 0.003 the joint arm soon unlearns.
  ["swav", { targets: { temperature: 0.05 }, train: { lr: 0.001 } }],
  // Its targets are sharpened: a quarter of the student's temperature.
  ["msn", { targets: { temperature: 0.025 } }],
  ["pmsn", { targets: { temperature: 0.025 } }],
]);

/** CARP's targets as in its paper, by `targets.balance=none`: as sharp as the student, which has to agree with them. */
const UNBALANCED_CARP = { targets: { temperature: 0.1 } };

/** What lightly's MSN and PMSN losses make by themselves. */
const OWN_TARGETS: readonly string[] = ["msn", "pmsn"];
/** What targets are made of and by where CARP's blocks are balanced each by itself. */
const IN_BLOCKS = [
  ["from", "similarity"],
  ["by", "rank"],
  ["balance", "sinkhorn"],
  ["memory", 0],
] as const;
/** Encoders that are known to have no patches; the worker knows of timm's. */
const NO_PATCHES: readonly string[] = ["conv-small", "resnet18-32"];

/** What decides the defaults. What is wrong with it is the schema's to say. */
const deciding = z
  .object({ method: z.unknown(), targets: z.object({ balance: z.unknown() }).partial().catch({}) })
  .partial()
  .catch({});

/** Settings with the defaults of their method under them. */
export function withMethod(settings: unknown): unknown {
  const { method, targets } = deciding.parse(settings);
  const unbalanced = method === "carp" && targets?.balance === "none";
  const defaults = unbalanced ? UNBALANCED_CARP : DEFAULTS.get(method);
  return defaults === undefined ? settings : overlay(defaults, settings);
}

/** Whether the method learns from the targets that a plugin's side makes; MSN's and PMSN's losses make their own. */
export function takesTargets({ method }: Pick<Config, "method">): boolean {
  return !OWN_TARGETS.includes(method);
}

/**
 * Whether the plugin's side makes the targets of a decoupled arm. A rank makes those of similarities by itself, from
 * its embeddings and the prototypes, with the function of the joint arm.
 */
export function pluginMakesTargets(config: Pick<Config, "method" | "targets">): boolean {
  const { from, by } = config.targets;
  return takesTargets(config) && (from !== "similarity" || by === "plugin");
}

/** Prototypes in each of CARP's blocks: the paper's 512, or an eighth of them where that is less. */
export function carpBlock(components: number): number {
  return Math.min(512, Math.floor(components / 8));
}

/** What cannot be trained, in one sentence; null where all fits together. */
export function methodProblem(config: Config): string | null {
  return carpProblem(config) ?? problemOf(config);
}

function carpProblem({ carp, method, plugin: { components }, targets }: Config): string | null {
  if (method !== "carp") {
    if (carp.partition === "step" && carp.balance === "all") return null;
    return `carp.partition and carp.balance are of method carp, which alone parts the prototypes: method is ${method}; allowed: carp`;
  }
  const block = carpBlock(components);
  if (block < 2 || components % block !== 0) {
    return `method carp parts the prototypes into blocks of 512, or of an eighth of them where that is less: plugin.components is ${components}; allowed: multiples of 8 from 16 to 4096, and multiples of 512`;
  }
  if (carp.balance === "all") return null;
  const wrong = IN_BLOCKS.find(([key, value]) => targets[key] !== value);
  if (wrong === undefined) return null;
  const [key, allowed] = wrong;
  return `carp.balance=block has the rank balance each batch in its blocks: targets.${key} is ${targets[key]}; allowed: ${allowed}`;
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
    return `train.koleo spreads prototypes that are learned: it needs prototypes=joint, and here they are ${prototypes}`;
  }
  return null;
}
