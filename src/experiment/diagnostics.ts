import { METHODS } from "../config/method.ts";
import type { Config } from "../config/schema.ts";
import { percent } from "../report/format.ts";
import type { MetricsLine } from "./metrics-log.ts";
import type { Job } from "./run-folder.ts";

/** A remark on a run's measurements. */
export interface Warning {
  kind: "not-finite" | "chance" | "cone" | "one-prototype" | "dead" | "copies" | "idle";
  /** warning: the training goes wrong. note: a figure is easily misread. */
  level: "warning" | "note";
  /** Steps taken when it was measured. */
  step: number;
  /** One or two sentences with the figures. */
  text: string;
}

/** The settings that the measurements are judged by. */
export interface Setting {
  /** K. */
  components: number;
  /** Steps of warm-up of the learning rate. */
  warmup: number;
  /** The loss of a student that cannot tell prototypes apart, and its formula in words; null if unknown. */
  chance: { loss: number; text: string } | null;
}

/**
 * Steps at the start in which only numbers that are not finite count. A healthy run starts
 * with a loss at ln K, embeddings in a cone and few components in use. On CIFAR-10 with
 * conv-small, the first two have passed after 30 to 60 steps.
 */
const START = 100;

/** Steps that a fault must last before it counts. */
const WINDOW = 100;

/**
 * Share of ln K that the loss must fall below. A learning rate of 1e-7 kept it at 1.04 to 1.07 ln K;
 * runs that learned were at .90 to .97 after 100 to 200 steps, MSN's at .975.
 */
const CHANCE_SHARE = 0.99;

/**
 * Least spread, 1 - |mean of the rows|: at .05 the mean cosine of two embeddings is (1 - .05)^2 = .9.
 * DINO's plain head runs healthily at .11 to .2; runs that collapsed to a point (no balance) were at
 * .02 after 100 steps, or fell to it from .9 within 250.
 */
const LEAST_SPREAD = 0.05;

/** Least perplexity of the wins; runs that collapsed had 1.0 to 1.5, healthy ones at least 6. */
const LEAST_PERPLEXITY = 2;

/**
 * A usage below this that does not grow over so many steps means dead components. In a decoupled run it grows
 * slowly: on CIFAR-10 it rested at .07 from step 100 to 500 and to be at .16 at 1,000, .72 at 5,000.
 */
const LOW_USE = 0.1;
const GROWTH = 1.1;
const STALL = 500;

/** Uniqueness that counts as high, at a distance of .5. */
const HIGH_UNIQUE = 0.5;

/** Usage below which a high uniqueness is easily misread. */
const IDLE_USE = 0.25;

/** The criteria of a training. */
export function settingOf(config: Config): Setting {
  return { components: config.plugin.components, warmup: config.train.warmup, chance: chanceOf(config) };
}

function chanceOf({ method, plugin: { components } }: Config): Setting["chance"] {
  const k = Math.log(components);
  return (
    METHODS[method].chance?.(components) ?? { loss: k, text: `ln K = ${k.toFixed(2)} (K = ${components})` }
  );
}

/** Diagnoses one training from its lines, in order. Returns findings, the gravest first. */
export function diagnose(lines: readonly MetricsLine[], setting: Setting): Warning[] {
  const last = lines.at(-1)?.step ?? 0;
  const evaluated = lines.filter(({ step, used }) => step >= START && used !== undefined);
  const recent = lines.filter(({ step, knn }) => knn === undefined && step > last - WINDOW);
  const longEnough = last >= START + setting.warmup + WINDOW;
  return [
    notFinite(lines),
    ...(longEnough ? [atChance(recent, setting), inACone(recent)] : []),
    onePrototype(evaluated, setting) ?? dead(evaluated) ?? idle(evaluated),
    copies(evaluated),
  ].filter((found) => found !== null);
}

/**
 * The findings of one arm, each kind once: that of the first seed with it. If there are several seeds, those affected are
 * named.
 */
export function diagnoseArm(
  trainings: readonly { job: Pick<Job, "seed" | "config">; lines: readonly MetricsLine[] }[],
): Warning[] {
  const found = trainings.flatMap(({ job, lines }) =>
    diagnose(lines, settingOf(job.config)).map((warning) => ({ seed: job.seed, warning })),
  );
  const kinds = new Set(found.map(({ warning }) => warning.kind));
  return [...kinds].flatMap((kind) => {
    const [first, ...others] = found.filter(({ warning }) => warning.kind === kind);
    if (first === undefined) return [];
    if (trainings.length === 1) return [first.warning];
    const likewise = others.length === 0 ? "" : ` (likewise ${others.map(({ seed }) => seed).join(", ")})`;
    return [{ ...first.warning, text: `Seed ${first.seed}${likewise}: ${first.warning.text}` }];
  });
}

function notFinite(lines: readonly MetricsLine[]): Warning | null {
  const bad = lines.filter(({ loss }) => loss === null || (loss !== undefined && !Number.isFinite(loss)));
  const [first] = bad;
  if (first === undefined) return null;
  const where =
    bad.length === 1 ? `at step ${first.step}` : `from step ${first.step} on (${bad.length} times)`;
  const remedy =
    first.step <= 1
      ? "No weight had changed before, so check the method's loss and the encoder; precision=float32 may help."
      : "A lower train.lr, a smaller train.clip or precision=float32 usually helps.";
  return {
    kind: "not-finite",
    level: "warning",
    step: first.step,
    text: `The loss was not a finite number ${where}. ${remedy}`,
  };
}

function atChance(recent: readonly MetricsLine[], { chance }: Setting): Warning | null {
  const losses = values(recent, ({ loss }) => loss);
  if (chance === null || losses.length === 0 || median(losses) < CHANCE_SHARE * chance.loss) return null;
  return {
    kind: "chance",
    level: "warning",
    step: lastStep(recent),
    text: `The loss sits at ${chance.text}, which is what guessing gives: nothing is being learned. The learning rate may be too small, or the encoder has collapsed.`,
  };
}

function inACone(recent: readonly MetricsLine[]): Warning | null {
  const spreads = values(recent, (line) => numberOf(line.spread));
  if (spreads.length === 0 || median(spreads) >= LEAST_SPREAD) return null;
  const cosine = (1 - median(spreads)) ** 2;
  return {
    kind: "cone",
    level: "warning",
    step: lastStep(recent),
    text: `The embeddings fill a narrow cone: two images have a cosine of ${cosine.toFixed(2)} on average. head.norm=batch opens it; with targets.balance=none the encoder collapses to a point.`,
  };
}

function onePrototype(evaluated: readonly MetricsLine[], { components }: Setting): Warning | null {
  const now = evaluated.at(-1);
  if (now?.perplexity === undefined || now.perplexity >= LEAST_PERPLEXITY || components <= LEAST_PERPLEXITY)
    return null;
  return {
    kind: "one-prototype",
    level: "warning",
    step: now.step,
    text: `Nearly all images fall to one of the ${components} prototypes: the encoder has collapsed. Balanced targets (targets.balance=sinkhorn) prevent it.`,
  };
}

function dead(evaluated: readonly MetricsLine[]): Warning | null {
  const used = values(evaluated, (line) => line.used);
  const now = evaluated.at(-1);
  if (now?.used === undefined) return null;
  const best = Math.max(...used);
  const fell = now.used < best / 2;
  const before = evaluated.findLast(({ step }) => step >= STALL && step <= now.step - STALL);
  const stays = now.used < LOW_USE && now.used < (before?.used ?? 0) * GROWTH;
  if (!fell && !stays) return null;
  const how = fell
    ? `Only ${percent(now.used)} of the components are used, down from ${percent(best)}`
    : `Only ${percent(now.used)} of the components are used, and the share does not grow`;
  return {
    kind: "dead",
    level: "warning",
    step: now.step,
    text: `${how}: the others are dead.${reminder(now)}`,
  };
}

function idle(evaluated: readonly MetricsLine[]): Warning | null {
  const now = evaluated.at(-1);
  if (now?.used === undefined || now.used >= IDLE_USE || (uniqueAt(now, "0.5") ?? 0) < HIGH_UNIQUE)
    return null;
  return {
    kind: "idle",
    level: "note",
    step: now.step,
    text: `${percent(now.used)} of the components are used so far.${reminder(now)}`,
  };
}

function copies(evaluated: readonly MetricsLine[]): Warning | null {
  const now = evaluated.at(-1);
  const unique = now && uniqueAt(now, "0.025");
  if (unique === undefined || unique >= HIGH_UNIQUE) return null;
  return {
    kind: "copies",
    level: "warning",
    step: now?.step ?? 0,
    text: `The prototypes have collapsed onto each other: ${percent(unique)} are left when those within a cosine distance of 0.025 count once.`,
  };
}

/** Uniqueness counts dead components too, so it misleads if few are used. */
function reminder(line: MetricsLine): string {
  const unique = uniqueAt(line, "0.5");
  if (unique === undefined || unique < HIGH_UNIQUE) return "";
  const both = line.distinctUsed?.["0.5"];
  const instead = both === undefined ? "read both together" : `distinct and used are ${percent(both)}`;
  return ` ${percent(unique)} are unique at 0.5, but a component that wins no image stays unique and teaches nothing: ${instead}.`;
}

function uniqueAt(line: MetricsLine, epsilon: string): number | undefined {
  return line.unique?.[epsilon];
}

/** The finite values; others have their own warning. */
function values(
  lines: readonly MetricsLine[],
  of: (line: MetricsLine) => number | null | undefined,
): number[] {
  return lines.flatMap((line) => of(line) ?? []).filter(Number.isFinite);
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function lastStep(lines: readonly MetricsLine[]): number {
  return lines.at(-1)?.step ?? 0;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}
