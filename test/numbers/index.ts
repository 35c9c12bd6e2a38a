/**
 * npm run numbers -- [--seed S] [--steps N] [--on PLACE...]: so many steps in each place, shared among the settings, on
 * batches that break a careless mixture; every invariant is looked at after each step. Exits with 1 where one does not hold.
 */
import { Command, Option } from "commander";
import { closeBackend, openBackend } from "../../src/backend/backend.ts";
import { sentence } from "../../src/errors.ts";
import { DeviceRank } from "../mixture/device-rank.ts";
import { hardSettings } from "./settings.ts";
import { onDevice, onHost, type Subject } from "./subject.ts";
import { takeHardSteps } from "./take.ts";

const PLACES = ["wasm", "tensorflow", "torch", "device"] as const;
type Place = (typeof PLACES)[number];

const program = new Command("numbers")
  .description("Takes steps on hard batches and looks at every invariant of the mixture after each.")
  .option("--seed <seed>", "of the mixtures and the batches", wholeNumber, 1)
  .option("--steps <steps>", "in each place, shared among the settings", wholeNumber, 100_000)
  .addOption(
    new Option("--on <place...>", "backends of this process; device: a rank's")
      .choices(PLACES)
      .default([...PLACES]),
  )
  .action(async ({ seed, steps, on }: { seed: number; steps: number; on: Place[] }) => {
    console.log(`seed ${seed}, ${hardSettings.length} settings`);
    for (const place of on) if (!(await holds(place, steps, seed))) process.exitCode = 1;
  });
await program.parseAsync();

/** Prints a line for the place, and a sentence for each setting that fails there. */
async function holds(place: Place, steps: number, seed: number): Promise<boolean> {
  const began = performance.now();
  const each = Math.ceil(steps / hardSettings.length);
  const { open, close } = await opened(place);
  let failures = 0;
  try {
    for (const setting of hardSettings) {
      let subject: Subject | undefined;
      try {
        subject = await open(setting, seed);
        await takeHardSteps(subject, setting, each, seed);
      } catch (error) {
        failures++;
        console.error(`${place}: ${sentence(error)}`);
      } finally {
        await subject?.end();
      }
    }
  } finally {
    await close();
  }
  const seconds = Math.round((performance.now() - began) / 1000);
  const verdict = failures === 0 ? "all finite, every invariant held" : `${failures} settings failed`;
  console.log(`${place.padEnd(10)}  ${each * hardSettings.length} steps  ${seconds} s  ${verdict}`);
  return failures === 0;
}

async function opened(place: Place): Promise<{ open: typeof onHost; close(): Promise<void> }> {
  if (place !== "device") {
    await openBackend(place);
    return { open: onHost, close: closeBackend };
  }
  await openBackend("wasm");
  const rank = await DeviceRank.start();
  return { open: (setting, seed) => onDevice(rank, setting, seed), close: () => rank.kill() };
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) program.error(`error: ${text} is not a whole number`);
  return value;
}
