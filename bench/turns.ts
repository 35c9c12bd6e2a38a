import { sentence } from "../src/errors.ts";
import type { Context, Measured, Missing } from "./figure.ts";
import { ArmProcess, type Numbers } from "./process.ts";

export interface ArmSpec {
  command: readonly string[];
  env?: Record<string, string>;
}

/** The answers of an arm, round by round, or the reason why there are none. */
export type Answers = { ready: Numbers; rounds: Numbers[] } | Missing;

/**
 * Runs the arms in turns, A B C A B C, so that all have the same conditions. An arm that fails is skipped from
 * then on.
 */
export async function inTurns(
  arms: Record<string, ArmSpec>,
  rounds: number,
  { device, note }: Pick<Context, "device" | "note">,
): Promise<ReadonlyMap<string, Answers>> {
  const answers = new Map<string, Answers>();
  const running = new Map<string, ArmProcess>();
  const attempt = async (name: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      answers.set(name, { missing: sentence(error) });
      note(`${name}: ${sentence(error)}`);
      await running.get(name)?.end();
      running.delete(name);
    }
  };
  const start = ([name, { command, env }]: [string, ArmSpec]) =>
    attempt(name, async () => {
      const arm = await ArmProcess.start(command, env);
      running.set(name, arm);
      answers.set(name, { ready: arm.ready, rounds: [] });
    });
  try {
    // One after the other: on two cores, parallel starts would slow each other down.
    if (device === "cuda") await Promise.all(Object.entries(arms).map(start));
    else for (const each of Object.entries(arms)) await start(each);
    for (let round = 0; round < rounds; round++) {
      for (const [name, arm] of running) {
        await attempt(name, async () => {
          const answer = await arm.round();
          const all = answers.get(name);
          if (all && "rounds" in all) all.rounds.push(answer);
        });
      }
    }
  } finally {
    for (const arm of running.values()) await arm.end();
  }
  return answers;
}

/** One number for each round. */
export function samplesOf(answers: Answers | undefined, key: string, unit: string): Measured | Missing {
  if (answers === undefined) return { missing: "it was not begun" };
  if ("missing" in answers) return answers;
  const samples = answers.rounds.flatMap((round) => round[key] ?? []);
  return samples.length > 0 ? { unit, samples } : { missing: `it has no "${key}"` };
}

/** A number that an arm wrote once, when it was ready. */
export function onceOf(answers: Answers | undefined, key: string, unit: string): Measured | Missing {
  if (answers === undefined) return { missing: "it was not begun" };
  if ("missing" in answers) return answers;
  const value = answers.ready[key];
  return value === undefined ? { missing: `it has no "${key}"` } : { unit, samples: [value] };
}

/** The same number of every arm. */
export function allSamples(
  answers: ReadonlyMap<string, Answers>,
  key: string,
  unit: string,
): Record<string, Measured | Missing> {
  return Object.fromEntries([...answers].map(([name, answer]) => [name, samplesOf(answer, key, unit)]));
}
