import { createInterface } from "node:readline";

const WARM_UP = 3;
const MOST = 200;

/** rounds.py in Node: takes a round for every line. Its "ms" is the mean over as many steps as fit into `seconds`. */
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
