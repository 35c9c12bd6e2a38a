import type { ProbeFigures } from "../report/probe-figures.ts";
import type { GroupFigures, Probed } from "../report/summary.ts";
import { mean } from "./statistics.ts";

/** The part of evaluation.json that is summed up. */
export function probedOf({ linear, groups, balanced }: ProbeFigures): Probed {
  return {
    linear,
    ...(groups && { groups }),
    ...(balanced && {
      balanced: {
        knn: balanced.knn["20"] ?? Number.NaN,
        linear: balanced.linear,
        ...(balanced.groups && { groups: balanced.groups }),
      },
    }),
  };
}

/** Means over trainings. A figure that one of them lacks is left out, since its mean would be over other seeds. */
export function meanProbed(trainings: readonly Partial<Probed>[]): Partial<Probed> {
  const balanced = trainings.map((each) => each.balanced);
  const linear = meanOf(trainings.map((each) => each.linear));
  const groups = meanGroups(trainings.map((each) => each.groups));
  const balancedKnn = meanOf(balanced.map((each) => each?.knn));
  const balancedLinear = meanOf(balanced.map((each) => each?.linear));
  const balancedGroups = meanGroups(balanced.map((each) => each?.groups));
  return {
    ...(linear !== null && { linear }),
    ...(groups && { groups }),
    ...(balancedKnn !== null &&
      balancedLinear !== null && {
        balanced: {
          knn: balancedKnn,
          linear: balancedLinear,
          ...(balancedGroups && { groups: balancedGroups }),
        },
      }),
  };
}

function meanGroups(trainings: readonly (GroupFigures | undefined)[]): GroupFigures | null {
  if (trainings.includes(undefined)) return null;
  const of = (group: keyof GroupFigures) => ({
    knn: meanOf(trainings.map((each) => each?.[group].knn)),
    linear: meanOf(trainings.map((each) => each?.[group].linear)),
  });
  return { head: of("head"), medium: of("medium"), tail: of("tail") };
}

/** null if a value is missing. */
function meanOf(values: readonly (number | null | undefined)[]): number | null {
  const there = complete(values);
  return there && mean(there);
}

/** The values if none is missing. */
export function complete(values: readonly (number | null | undefined)[]): number[] | null {
  const there = values.flatMap((value) => value ?? []);
  return there.length === values.length ? there : null;
}
