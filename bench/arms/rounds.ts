import { createInterface } from "node:readline";

const WARM_UP = 3;
const MOST = 200;

/** What rounds.py does, in Node: a round for every line, its "ms" the mean of as many steps as `seconds` hold. */
export async function takeRounds(
  step: () => Promise<void>,
  finish: () => Promise<void>,
  seconds: number,
): Promise<void> {
  const timed = async (steps: number): Promise<number> => {
    const began = performance.now();
    for (let taken = 0; taken < steps; taken++) await step();
    await finish();
    return (performance.now() - began) / steps;
  };
  await timed(WARM_UP);
  const steps = Math.max(2, Math.min(MOST, Math.round((1e3 * seconds) / (await timed(2)))));
  say({ steps });
  for await (const _ of createInterface({ input: process.stdin })) {
    await step();
    await finish();
    say({ ms: await timed(steps) });
  }
}

function say(numbers: Record<string, number>): void {
  process.stdout.write(`${JSON.stringify(numbers)}\n`);
}
