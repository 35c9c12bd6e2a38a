import type { Size } from "./curves.ts";
import type { ReportData } from "./data.ts";
import { knnOverTraining, uniqueOverTraining } from "./figures.ts";
import { sideBySide } from "./picture.ts";
import { untrainedOf } from "./table.ts";
import { armColors } from "./theme.ts";

const PANEL: Size = { width: 370, height: 260 };

/** A run in one picture, 1200 x 480: k-NN accuracy and uniqueness at 0.5 over training, as SVG (`toPng` makes pixels of it). */
export async function heroPicture({ title, arms, figures }: ReportData): Promise<string> {
  const panels = [
    await knnOverTraining(arms, untrainedOf(figures), PANEL),
    await uniqueOverTraining(arms, "0.5", PANEL),
  ];
  return sideBySide(title, panels, PANEL, { legend: armColors(arms.map(({ name }) => name)), scale: 1.5 });
}
