import type { Size } from "./curves.ts";
import type { ReportData } from "./data.ts";
import { distinctUsedOverTraining, knnOverTraining, uniqueOverTraining } from "./figures.ts";
import { sideBySide } from "./picture.ts";
import { untrainedOf } from "./table.ts";
import { armColors } from "./theme.ts";

const PANEL: Size = { width: 370, height: 260 };

/**
 * Draws a run in one SVG picture (`toPng` converts it), 1200 x 480, or higher if the legend needs rows. Shows k-NN
 * accuracy, and the share of distinct and used prototypes at 0.5, over training; for runs of earlier versions, which
 * lack the latter, uniqueness.
 */
export async function heroPicture({ title, arms, figures }: ReportData): Promise<string> {
  const panels = [
    await knnOverTraining(arms, untrainedOf(figures), PANEL),
    (await distinctUsedOverTraining(arms, "0.5", PANEL)) ?? (await uniqueOverTraining(arms, "0.5", PANEL)),
  ];
  return sideBySide(title, panels, PANEL, { legend: armColors(arms.map(({ name }) => name)), scale: 1.5 });
}
