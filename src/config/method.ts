import { keysOf } from "../files/keys.ts";

/** The settings that a method looks at. */
interface Settings {
  carp: { partition: string; balance: string };
  encoder: { name: string };
  plugin: { components: number };
  targets: { from: string; by: string; balance: string; memory: number };
}

/** A method of training; its loss is in python_env/mixhead/worker/methods. */
export interface Method {
  /** What replaces the common defaults. `balance` is the setting of its targets, undefined if it is not given. */
  defaults?(balance: unknown): object;
  /** Whether its loss makes its own targets. */
  ownTargets?: boolean;
  /** The problem with its settings, in one sentence; null if there is none. */
  problem?(settings: Settings): string | null;
  /** Numbers that its loss gets at every step, besides those of all methods. K components. */
  scalars?(components: number): Record<string, number>;
  /** The loss of a student that cannot tell prototypes apart, and its wording; default: ln K. */
  chance?(components: number): { loss: number; text: string };
}

// Sharpened targets, with a quarter of the student's temperature.
const MSN: Method = { defaults: () => ({ targets: { temperature: 0.025 } }), ownTargets: true };

/** Encoders that are known to have no patches; the worker checks those of timm. */
const NO_PATCHES: readonly string[] = ["conv-small", "resnet18-32"];

/** The settings of targets that carp.balance=block needs. */
const IN_BLOCKS = [
  ["from", "similarity"],
  ["by", "rank"],
  ["balance", "sinkhorn"],
  ["memory", 0],
] as const;

const TABLE = {
  dino: {},
  ibot: {
    defaults: () => ({ train: { lr: 0.0003 } }),
    problem: ({ encoder: { name } }) =>
      NO_PATCHES.includes(name)
        ? `method ibot hides patches, so encoder.name must be a vision transformer such as vit-tiny-32; ${name} has no patches`
        : null,
    chance(components) {
      // The views' cross-entropy, and that of the patches of the half of them that is masked.
      const loss = 1.5 * Math.log(components);
      return { loss, text: `1.5 ln K = ${loss.toFixed(2)} (K = ${components})` };
    },
  },
  carp: {
    // As in its paper if nothing balances the targets: as sharp as the student's predictions.
    defaults: (balance) => (balance === "none" ? { targets: { temperature: 0.1 } } : {}),
    problem: carpProblem,
    scalars: (components) => ({ block: carpBlock(components) }),
    chance(components) {
      const block = carpBlock(components);
      const loss = Math.log(block);
      return { loss, text: `ln ${block} = ${loss.toFixed(2)}, its blocks being of ${block}` };
    },
  },
  swav: {
    // The student makes its own codes, without a teacher to stabilise them: at 0.003 the joint arm soon gets worse.
    defaults: () => ({ targets: { temperature: 0.05 }, train: { lr: 0.001 } }),
    problem: ({ targets: { balance } }) =>
      balance === "sinkhorn"
        ? null
        : `method swav balances its codes by Sinkhorn-Knopp: targets.balance is ${balance}; allowed: sinkhorn`,
  },
  msn: MSN,
  pmsn: MSN,
} satisfies Record<string, Method>;

export type MethodName = keyof typeof TABLE;
export const METHODS: Readonly<Record<MethodName, Method>> = TABLE;
export const METHOD_NAMES: readonly MethodName[] = keysOf(TABLE);

/** Prototypes in each of CARP's blocks: 512 as in the paper, or K / 8 if that is less. */
function carpBlock(components: number): number {
  return Math.min(512, Math.floor(components / 8));
}

function carpProblem({ carp, plugin: { components }, targets }: Settings): string | null {
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
