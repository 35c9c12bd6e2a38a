import {
  accuracyByClass,
  accuracyByGroup,
  type By,
  classesAreNamed,
  isLongTailed,
  type Probed,
} from "./classes.ts";
import type { ArmRecord } from "./data.ts";
import { figure, section } from "./layout.ts";
import type { ClassifierFigures } from "./probe-figures.ts";
import { frozenTable, swatch } from "./summary-table.ts";

const METHODS: Record<By, string> = { knn: "k-NN", linear: "Linear probe" };

/** The section about probes of frozen features: a table, and figures by class and by group; "" if no arm was probed. */
export async function frozenSection(
  arms: readonly ArmRecord[],
  colors: ReadonlyMap<string, string>,
): Promise<string> {
  const probed = arms.filter(({ probes }) => probes.length > 0);
  if (probed.length === 0) return "";
  const of = (arm: ArmRecord, seeds: readonly ClassifierFigures[]) => ({
    arm,
    name: arm.name,
    color: colors.get(arm.name) ?? "",
    seeds,
  });
  const own = probed.map((arm) => of(arm, arm.probes));
  const balanced = probed
    .map((arm) =>
      of(
        arm,
        arm.probes.flatMap((probe) => probe.balanced ?? []),
      ),
    )
    .filter(({ seeds }) => seeds.length > 0);
  const pictures: string[] = [];
  for (const [references, all] of [
    [balanced.length > 0 ? ", long-tailed references" : "", own],
    [", balanced references", balanced],
  ] as const) {
    const grouped = all.filter(({ seeds }) => seeds.some(({ groups }) => groups !== undefined));
    for (const by of ["knn", "linear"] as const) {
      if (grouped.length === 0) break;
      pictures.push(
        figure(
          `${METHODS[by]}: head, medium, tail${references}`,
          legendOf(grouped),
          await accuracyByGroup(grouped, by),
          "Accuracy on the classes with the most training images, with fewer, and with the fewest.",
        ),
      );
    }
  }
  // Runs on other data have other classes.
  const classesOf = ({ arm, seeds }: (typeof own)[number]) =>
    JSON.stringify([seeds[0]?.perClass.knn.length, arm.classNames]);
  for (const classes of new Set(own.map(classesOf))) {
    const set = own.filter((one) => classesOf(one) === classes);
    const [first] = set;
    if (first === undefined) continue;
    const order = isLongTailed(first.arm) ? ", those with most training images first" : "";
    const caption = classesAreNamed(set)
      ? `Share of each class's test images that are classified correctly${order}.`
      : `Mean accuracy of groups of classes${order}.`;
    const references = balanced.length > 0 ? " The references are the training set." : "";
    for (const by of ["knn", "linear"] as const) {
      const picture = await accuracyByClass(set, by, first.arm);
      pictures.push(figure(`${METHODS[by]} by class`, legendOf(set), picture, caption + references));
    }
  }
  return section("Which classes are recognised?", pictures, frozenTable(probed, colors));
}

function legendOf(arms: readonly Probed[]): string {
  return arms.map(({ name, color }) => swatch(name, color)).join("");
}
