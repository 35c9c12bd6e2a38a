import type { Size } from "./curves.ts";
import type { ReportData } from "./data.ts";
import { distinctUsedOverTraining, knnOverTraining, uniqueOverTraining } from "./figures.ts";
import { sideBySide } from "./picture.ts";
import { untrainedOf } from "./table.ts";
import { armColors } from "./theme.ts";

const PANEL: Size = { width: 370, height: 260 };

/**
 * A run in one picture, 1200 x 480 and higher where its legend takes rows, as SVG (`toPng` makes pixels of it): over
 * training, k-NN accuracy and how many prototypes are distinct and used at 0.5; uniqueness, where a run of an earlier
 * version has that alone.
 */
export async function heroPicture({ title, arms, figures }: ReportData): Promise<string> {
  const panels = [
    await knnOverTraining(arms, untrainedOf(figures), PANEL),
    (await distinctUsedOverTraining(arms, "0.5", PANEL)) ?? (await uniqueOverTraining(arms, "0.5", PANEL)),
  ];
  return sideBySide(title, panels, PANEL, { legend: armColors(arms.map(({ name }) => name)), scale: 1.5 });
}
