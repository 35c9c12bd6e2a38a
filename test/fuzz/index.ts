/**
 * `npm run fuzz -- [--seed N] [--messages N] [--against server|client]`: generated messages against a server with a
 * legitimate client on it; or generated answers against a client.
 */
import { parseArgs } from "node:util";
import { fuzzClient } from "./client.ts";
import { fuzz } from "./fuzz.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "0" },
    messages: { type: "string", default: "1000000" },
    against: { type: "string", default: "server" },
  },
});
const [seed, messages] = [Number(values.seed), Number(values.messages)];

function print(title: string, counts: Record<string, number>): void {
  process.stdout.write(`${title}\n`);
  for (const [name, count] of Object.entries(counts).sort(([, a], [, b]) => b - a)) {
    process.stdout.write(`  ${name}: ${count}\n`);
  }
}

async function againstClient(): Promise<void> {
  const { sent, seconds, python, typescript, memory } = await fuzzClient(seed, messages);
  print(`seed ${seed}: ${sent} answers in ${seconds.toFixed(0)} s; calls of the Python client gave`, python);
  print("each answer, read in TypeScript, was", typescript);
  process.stdout.write(`client's memory: ${memory.warm} MB after a fifth, ${memory.after} MB at the end\n`);
}

async function againstServer(): Promise<void> {
  const { sent, seconds, answers, flooded, alone, memory } = await fuzz(seed, messages);
  const sameBits = flooded.hash === alone.hash && flooded.steps === alone.steps;
  print(`seed ${seed}: ${sent} messages in ${seconds.toFixed(0)} s; the server answered`, answers);
  process.stdout.write(
    `server's memory: ${memory.before} MB before, ${memory.warm} MB after a tenth, ${memory.after} MB at the end\n` +
      `legitimate client: ${flooded.steps} steps, median ${flooded.median.toFixed(2)} ms a step under the flood, ` +
      `${alone.median.toFixed(2)} ms without; results ${sameBits ? "are the same bits" : "DIFFER"}\n`,
  );
  process.exitCode = sameBits ? 0 : 1;
}

if (values.against === "client") await againstClient();
else await againstServer();
