/** `npm run fuzz -- [--seed N] [--messages N]`: generated messages against a server with a legitimate client on it. */
import { parseArgs } from "node:util";
import { fuzz } from "./fuzz.ts";

const { values } = parseArgs({
  options: { seed: { type: "string", default: "0" }, messages: { type: "string", default: "1000000" } },
});
const report = await fuzz(Number(values.seed), Number(values.messages));
const { flooded, alone, memory } = report;
const sameBits = flooded.hash === alone.hash && flooded.steps === alone.steps;
process.stdout.write(`seed ${report.seed}: ${report.sent} messages in ${report.seconds.toFixed(0)} s\n`);
for (const [answer, count] of Object.entries(report.answers).sort(([, a], [, b]) => b - a)) {
  process.stdout.write(`  ${answer}: ${count}\n`);
}
process.stdout.write(
  `server's memory: ${memory.before} MB before, ${memory.warm} MB after a tenth, ${memory.after} MB at the end\n` +
    `legitimate client: ${flooded.steps} steps, median ${flooded.median.toFixed(2)} ms a step under the flood, ` +
    `${alone.median.toFixed(2)} ms without; results ${sameBits ? "are the same bits" : "DIFFER"}\n`,
);
process.exitCode = sameBits ? 0 : 1;
