import type { ArmFigures, Figures } from "./data.ts";
import { percent } from "./format.ts";

/** With one seed, k-NN differences up to this are noise. */
const NOISE = 0.01;
const DISTANCE = "0.5";

type Named = ArmFigures & { name: string; untrained: number };

/**
 * The result of a run in one plain sentence. It names the better arm only if the interval of the paired difference
 * excludes 0. Without paired seeds, the intervals must not overlap (several seeds), or the difference must be above
 * one point (one seed).
 */
export function finding({ untrained, arms, differences = [] }: Figures): string {
  const named = Object.entries(arms).map(([name, figures]) => ({
    untrained: untrained.knn,
    name,
    ...figures,
  }));
  const [first, second] = pick(named);
  if (first === undefined) return "This run has no arm that was evaluated.";
  if (second === undefined) {
    const reached = `${capital(first.name)} reaches a k-NN accuracy of ${percent(first.knn, 1)}`;
    return `${reached}, ${gain(first)}; ${work(first)}.`;
  }
  const paired = differences.find(
    ({ arms: both }) => both.includes(first.name) && both.includes(second.name),
  );
  return `${accuracy(first, second, paired?.knn.interval)}; ${work(first, second)}.`;
}

/** The decoupled and the joint arm if there are both, else the two best arms by k-NN. */
function pick(named: readonly Named[]): [Named | undefined, Named | undefined] {
  const decoupled = named.find(({ name }) => name === "decoupled");
  const joint = named.find(({ name }) => name === "joint");
  if (decoupled !== undefined && joint !== undefined) return [decoupled, joint];
  const [best, next] = [...named].sort((a, b) => b.knn - a.knn);
  return [best, next];
}

/** `difference`: the 95 % interval of the difference of both, over their common seeds. */
function accuracy(a: Named, b: Named, difference: readonly [number, number] | undefined): string {
  const seeds = Math.min(a.seeds.length, b.seeds.length);
  const ofSeeds = seeds > 1 ? `${seeds} seeds` : "one seed";
  const values = `${percent(a.knn, 1)} against ${percent(b.knn, 1)}`;
  const level = whyLevel(a, b, difference);
  if (level !== null) {
    return `${capital(a.name)} and ${b.name} are level in k-NN accuracy (${values}: ${level}), ${gain(a.knn > b.knn ? a : b)}`;
  }
  const side = a.knn > b.knn ? "above" : "below";
  return `${capital(a.name)} reaches a k-NN accuracy of ${percent(a.knn, 1)}, ${points(a.knn - b.knn)} ${side} ${b.name} (${ofSeeds}) and ${gain(a)}`;
}

/** The reason why neither arm is ahead; null if one is. */
function whyLevel(a: Named, b: Named, difference: readonly [number, number] | undefined): string | null {
  if (difference !== undefined) {
    const [low, high] = difference;
    return low > 0 || high < 0 ? null : "the 95 % interval of their difference holds 0";
  }
  const [one, other] = [a.interval?.knn, b.interval?.knn];
  if (one !== undefined && other !== undefined) {
    return one[0] > other[1] || other[0] > one[1] ? null : "the 95 % intervals overlap";
  }
  return Math.abs(a.knn - b.knn) > NOISE ? null : "a point or less, which one seed cannot tell apart";
}

function gain({ knn, untrained }: Named): string {
  const difference = knn - untrained;
  if (Math.abs(difference) <= NOISE) return `no better than the untrained encoder (${percent(untrained, 1)})`;
  return `${points(difference)} ${difference > 0 ? "above" : "below"} the untrained encoder`;
}

/** The shares of an arm's prototypes that are used, distinct, or both; in brackets those of the other arm. */
function work(first: Named, second?: Named): string {
  const said = (of: (arm: Named) => number | undefined) => {
    const share = (arm: Named) => percent(of(arm) ?? Number.NaN);
    return share(first) + (second === undefined ? "" : ` (${second.name}: ${share(second)})`);
  };
  const distinct = said(({ unique }) => unique[DISTANCE]);
  const used = said((arm) => arm.used);
  const whose = `of ${first.name}'s prototypes`;
  const measured = [first, second].some((arm) => arm?.distinctUsed !== undefined);
  if (!measured) {
    return `${whose} ${distinct} are distinct at a cosine distance of ${DISTANCE} and ${used} win an image`;
  }
  const both = said(({ distinctUsed }) => distinctUsed?.[DISTANCE]);
  return `${whose} ${both} win an image and are distinct at a cosine distance of ${DISTANCE}; whether used or not, ${distinct} are distinct, and ${used} win an image`;
}

function points(difference: number): string {
  return `${(100 * Math.abs(difference)).toFixed(1)} points`;
}

/** Capitalises an arm's name, unless it is RUN/ARM. */
function capital(name: string): string {
  return name.includes("/") ? name : name.charAt(0).toUpperCase() + name.slice(1);
}
