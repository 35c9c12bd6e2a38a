/**
 * npm run soak -- [--seed S] [--steps N] [--placement host|device...]: a long run with quick steps. Prints what it held after
 * the first tenth and at the end, and exits with 1 and a sentence where something grows. Linux alone.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import type { Placement } from "../../src/mixture/placement.ts";
import { soak } from "./soak.ts";
import { type Row, verdict } from "./verdict.ts";

const PLACEMENTS = ["host", "device"] as const;

const program = new Command("soak")
  .description("Trains for long and looks whether anything grows.")
  .option("--seed <seed>", "of the run", wholeNumber, 0)
  .option("--steps <steps>", "at each placement, at least 200", wholeNumber, 100_000)
  .addOption(
    new Option("--placement <placement...>", "of the mixture").choices(PLACEMENTS).default([...PLACEMENTS]),
  )
  .action(async ({ seed, steps, placement }: { seed: number; steps: number; placement: Placement[] }) => {
    if (steps < 200) program.error(`error: --steps is ${steps}; allowed: 200 and more`);
    const folder = await mkdtemp(join(tmpdir(), "mixhead-soak-"));
    process.chdir(folder);
    try {
      for (const each of placement) {
        const began = performance.now();
        const rows = verdict(await soak(each, steps, seed));
        const seconds = Math.round((performance.now() - began) / 1000);
        console.log(`placement ${each}, ${steps} steps, seed ${seed}, ${seconds} s\n${table(rows)}`);
        for (const { problem } of rows) if (problem !== null) console.error(`${each}: ${problem}`);
        if (rows.some(({ problem }) => problem !== null)) process.exitCode = 1;
      }
    } finally {
      process.chdir(tmpdir());
      await rm(folder, { recursive: true });
    }
  });
await program.parseAsync();

function table(rows: readonly Row[]): string {
  const line = (cells: string[]) =>
    cells.map((cell, at) => (at === 0 ? cell.padEnd(24) : cell.padStart(14))).join("");
  return [
    line(["", "first", "last"]),
    ...rows.map(({ name, first, last }) => line([name, first, last])),
  ].join("\n");
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) program.error(`error: ${text} is not a whole number`);
  return value;
}
