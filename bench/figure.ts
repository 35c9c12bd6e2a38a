import { z } from "zod";

/** What a figure measured: written as JSON, and made into tables from there. */

const measured = z.strictObject({
  unit: z.string(),
  /** One for each round; rounds of the arms of a row took turns. */
  samples: z.array(z.number()).min(1),
  /** The goal, where there is one for the value itself. */
  atMost: z.number().optional(),
});
/** Why there is nothing, in a sentence. */
const missing = z.object({ missing: z.string() });

export const row = z.strictObject({
  setting: z.record(z.string(), z.union([z.string(), z.number()])),
  arms: z.record(z.string(), z.union([measured, missing])),
  /** Ratios of two arms, round by round; `atMost` is the goal. */
  ratios: z
    .array(z.strictObject({ of: z.string(), to: z.string(), atMost: z.number().optional() }))
    .default([]),
});

export const machine = z.strictObject({
  cpu: z.string(),
  cores: z.int(),
  card: z.string().nullable(),
  /** Of PyTorch. */
  threads: z.int(),
  torch: z.string(),
  python: z.string(),
  node: z.string(),
});

export const result = z.strictObject({
  figure: z.string(),
  title: z.string(),
  /** How it was measured, in a sentence or two. */
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
  /** Where PyTorch computes. */
  device: "cpu" | "cuda";
  /** Fewer and shorter rounds, to see that all works. */
  quick: boolean;
  /** The folder that the results go to. */
  out: string;
  note(line: string): void;
  /** Writes the rows so far: what ends a figure early leaves these. */
  keep(rows: readonly Row[]): Promise<void>;
}

export interface Figure {
  title: string;
  how(context: Context): string;
  /** Where it can be had; everywhere, where it is left out. */
  devices?: readonly Context["device"][];
  measure(context: Context): Promise<Row[]>;
}

/** A row of each setting, one setting after the other; the rows that are done are kept. */
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
