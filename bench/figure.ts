import { z } from "zod";

/** The measurements of a figure, which are written as JSON and then made into tables. */

const measured = z.strictObject({
  unit: z.string(),
  /** One value per round; the arms of a row take turns. */
  samples: z.array(z.number()).min(1),
  /** The goal for the value itself, if there is one. */
  atMost: z.number().optional(),
});
/** The reason why there is no value, in a sentence. */
const missing = z.object({ missing: z.string() });

const row = z.strictObject({
  setting: z.record(z.string(), z.union([z.string(), z.number()])),
  arms: z.record(z.string(), z.union([measured, missing])),
  /** Ratios of two arms, round by round; `atMost` is the goal. */
  ratios: z
    .array(z.strictObject({ of: z.string(), to: z.string(), atMost: z.number().optional() }))
    .default([]),
});

const machine = z.strictObject({
  cpu: z.string(),
  cores: z.int(),
  card: z.string().nullable(),
  /** Threads of PyTorch. */
  threads: z.int(),
  torch: z.string(),
  python: z.string(),
  node: z.string(),
});

export const result = z.strictObject({
  figure: z.string(),
  title: z.string(),
  /** The method of measurement, in a sentence or two. */
  how: z.string(),
  when: z.iso.datetime(),
  revision: z.string(),
  machine,
  rows: z.array(row),
});

export type Measured = z.infer<typeof measured>;
export type Missing = z.infer<typeof missing>;
export type Row = z.infer<typeof row>;
export type Machine = z.infer<typeof machine>;
export type Result = z.infer<typeof result>;

export interface Context {
  /** PyTorch's device. */
  device: "cpu" | "cuda";
  /** Fewer and shorter rounds, to test the benchmark itself. */
  quick: boolean;
  /** The folder for results. */
  out: string;
  note(line: string): void;
  /** Writes the rows so far, so that they are kept if the figure ends early. */
  keep(rows: readonly Row[]): Promise<void>;
}

export interface Figure {
  title: string;
  how(context: Context): string;
  /** The devices on which it can be measured; default: all. */
  devices?: readonly Context["device"][];
  measure(context: Context): Promise<Row[]>;
}

/** Measures a row for each setting, one after the other, and keeps the rows that are done. */
export async function rowOfEach<Setting>(
  settings: readonly Setting[],
  context: Context,
  rowOf: (setting: Setting, context: Context) => Promise<Row>,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const setting of settings) {
    rows.push(await rowOf(setting, context));
    await context.keep(rows);
  }
  return rows;
}
