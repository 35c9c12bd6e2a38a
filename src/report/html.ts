import { geometryInUse } from "../metrics/uniqueness.ts";
import { contactSheet } from "./contact-sheet.ts";
import { copies } from "./copies.ts";
import type { ArmRecord, ReportData } from "./data.ts";
import * as figures from "./figures.ts";
import { finding } from "./finding.ts";
import { count, escapeXml, percent, unbroken } from "./format.ts";
import { frozenSection } from "./frozen.ts";
import { figure, htmlPage, section } from "./layout.ts";
import { remarksList } from "./remarks.ts";
import { drawSphere } from "./sphere.ts";
import { figuresTable, swatch } from "./summary-table.ts";
import { untrainedOf } from "./table.ts";
import { armColors } from "./theme.ts";

/**
 * The page of one or several runs: a single HTML file without network access and scripts. The curves over epsilon are
 * computed here, on the active tfjs backend.
 */
export async function reportHtml(data: ReportData): Promise<string> {
  const { arms } = data;
  const colors = armColors(arms.map(({ name }) => name));
  const widths = new Set(arms.map(({ prototypes }) => prototypes.rows));
  const legend = [...colors].map(([name, color]) => swatch(name, color)).join("");
  const ofArms = (title: string, svg: string, caption: string) => figure(title, legend, svg, caption);
  const overEpsilon = {
    distinctUsed: new Map<string, [number, number][]>(),
    unique: new Map<string, [number, number][]>(),
  };
  const nearest = new Map<string, Float64Array>();
  for (const { name, prototypes, wins } of arms) {
    const measured = await geometryInUse(prototypes, wins, {
      epsilons: figures.EPSILON_GRID,
      source: `the prototypes of ${name}`,
    });
    for (const by of ["distinctUsed", "unique"] as const) {
      const curve = figures.EPSILON_GRID.map((at): [number, number] => [at, measured[by][String(at)] ?? 0]);
      overEpsilon[by].set(name, curve);
    }
    nearest.set(name, measured.nearest);
  }
  const further = await measured(arms, figures.FURTHER, ofArms);
  const work = await figures.distinctUsedOverTraining(arms, "0.5");
  const reported = await measured(arms, figures.pluginMeasures(arms), ofArms);
  const body = [
    `<header><p class="kind">mixhead ${data.kind}</p><h1>${escapeXml(data.title)}</h1><p class="finding">${unbroken(escapeXml(finding(data.figures)))}</p></header>`,
    unbroken(remarksList(data.remarks, colors)),
    unbroken(figuresTable(data.figures, colors, widths.size === 1 ? [...widths][0] : undefined)),
    seedsNote(arms),
    section("How many prototypes do distinct work?", [
      work === null
        ? ofArms(
            "Unique at 0.5",
            await figures.uniqueOverTraining(arms, "0.5"),
            "Share of prototypes, used or not, that a greedy cover keeps at a cosine distance of 0.5, at each evaluation.",
          )
        : ofArms(
            "Distinct and used at 0.5",
            work,
            "Share of prototypes that win a training image and that a greedy cover of these keeps at a cosine distance of 0.5, so that only clearly different directions count as two. Dashed: of all, used or not.",
          ),
      ofArms(
        "Distinct and used at any distance",
        await figures.distinctUsedOverEpsilon(arms, overEpsilon.distinctUsed, overEpsilon.unique),
        "At the end of training: the further to the right a curve stays high, the further apart the used prototypes lie. Dashed: of all, used or not.",
      ),
    ]),
    section("Are they distinct, used or not?", [
      ofArms(
        "Unique at 0.25",
        await figures.uniqueOverTraining(arms, "0.25"),
        "Share of prototypes that a greedy cover keeps at a cosine distance of 0.25, at each evaluation.",
      ),
      ofArms(
        "Nearest neighbours",
        await figures.nearestDistances(arms, nearest),
        "At the end of training: share of prototypes whose nearest neighbour is closer than the distance on the axis.",
      ),
    ]),
    section("Are they used?", [
      ofArms(
        "Used prototypes",
        await figures.usedOverTraining(arms),
        "Share of prototypes that win at least one training image. An unused prototype may be distinct, but it is useless.",
      ),
      ofArms(
        "Who wins",
        await figures.winsByRank(arms),
        "Images won by each prototype at the end, in decreasing order; prototypes beyond the end of a curve win none.",
      ),
    ]),
    section("What does the encoder learn?", [
      ofArms(
        "k-NN accuracy",
        await figures.knnOverTraining(arms, untrainedOf(data.figures)),
        "Accuracy of a weighted k-nearest-neighbour vote on the encoder's features; the axis does not begin at 0.",
      ),
      ofArms(
        "Loss",
        await figures.lossOverTraining(arms),
        "Arms have different targets, so compare the shapes of their losses, not the heights.",
      ),
      ...(await measured(arms, [figures.ONLINE], ofArms)),
    ]),
    unbroken(await frozenSection(arms, colors)),
    further.length === 0 ? "" : section("How do embeddings and prototypes spread?", further),
    reported.length === 0 ? "" : section("What does the plugin report?", reported),
    sheetSection(arms, colors),
    section(
      "Where do they lie?",
      arms.map((arm) => sphereFigure(arm, colors.get(arm.name) ?? "")),
      `<p class="key"><span><i class="dot"></i>embedding of a test image</span><span><i class="dot used"></i>prototype that wins images</span><span><i class="dot idle"></i>prototype that wins none</span></p>`,
    ),
    `<section><h2>Tables to copy, configuration and versions</h2>${copies(data.figures)}${details(data.details)}</section>`,
  ];
  return htmlPage(data.title, body.join("\n"));
}

/** Explains lines and shading if there are several seeds. */
function seedsNote(arms: readonly ArmRecord[]): string {
  const most = Math.max(...arms.map(({ trainings }) => trainings.length));
  if (most < 2) return "";
  return `<p class="key">Curves are means over seeds (${most}); shaded areas are 95&nbsp;% intervals by Student's t, which may extend beyond the axes. Figures of the end of training are those of the first seed, unless they have an interval.</p>`;
}

/** Draws the measures that a run has. */
async function measured(
  arms: readonly ArmRecord[],
  measures: readonly figures.Measure[],
  ofArms: (title: string, svg: string, caption: string) => string,
): Promise<string[]> {
  const pictures: string[] = [];
  for (const measure of measures) {
    const svg = await figures.measureOverTraining(arms, measure);
    if (svg !== null) pictures.push(ofArms(measure.title, svg, measure.caption));
  }
  return pictures;
}

/** The images nearest to sample prototypes, for each arm that has them; "" if none has. */
function sheetSection(arms: readonly ArmRecord[], colors: ReadonlyMap<string, string>): string {
  const sheets = arms.flatMap((arm) => {
    const sheet = contactSheet(arm);
    if (sheet === null) return [];
    const caption =
      "For sample prototypes, those with most images first: the training images whose embeddings have the largest cosine with each.";
    return figure("Nearest training images", swatch(arm.name, colors.get(arm.name) ?? ""), sheet, caption);
  });
  return sheets.length === 0 ? "" : section("What do prototypes stand for?", sheets);
}

function sphereFigure(arm: ArmRecord, color: string): string {
  const { svg, shown, drawn } = drawSphere(arm, color);
  const some =
    drawn < arm.prototypes.rows
      ? ` ${count(drawn)} of ${count(arm.prototypes.rows)} prototypes are drawn.`
      : "";
  return figure(
    "The sphere, front and back",
    swatch(arm.name, color),
    svg,
    `Shows the three directions with most of the embeddings' squared length: ${percent(shown.embeddings)} of it, and ${percent(shown.prototypes)} of the prototypes'. Points that touch here may be far apart in the other directions.${some}`,
  );
}

function details(parts: ReportData["details"]): string {
  return parts
    .map(
      ({ title, text }) =>
        `<details><summary>${escapeXml(title)}</summary><pre>${escapeXml(text)}</pre></details>`,
    )
    .join("");
}
