/**
 * A client that has every right to be there, in a process of its own: `node ... legitimate.ts ENDPOINT RUN STEPS`.
 * It takes steps until it has STEPS (0: until its standard input ends), and prints them, the SHA-256 of all answers and
 * the median milliseconds from its rows to the answer.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { RawRank } from "../bridge/raw-rank.ts";
import { D, K } from "./mutator.ts";

/** What a student's pass would take. */
const PASS_MS = 4;
const N = 16;

const [endpoint = "", run = "", wanted = "0"] = process.argv.slice(2);
const rank = new RawRank(endpoint, `generation of ${run}`);
for (;;) {
  await rank.hello({ run, components: K, dim: D, config: '{"targets":{"by":"plugin"}}' });
  const { header } = await rank.receive();
  if (header.type === "welcome") break;
  if (header.type !== "reject" || header.code !== "busy") throw new Error(JSON.stringify(header));
  await sleep(1000); // mixtures begin at a bounded rate
}
process.stdout.write("joined\n");

let ended = false;
if (wanted === "0") process.stdin.on("end", () => (ended = true)).resume();
const hash = createHash("sha256");
const times: number[] = [];
for (let step = 0; !ended && (wanted === "0" || step < Number(wanted)); step++) {
  const rows = Array.from({ length: N }, (_, i) =>
    Array.from({ length: D }, (_, j) => Math.sin(step * 31 + i * 7 + j * 3) + 0.01),
  );
  const began = performance.now();
  await rank.embeddings(step, rows);
  const { header, tensors } = await rank.receive();
  times.push(performance.now() - began);
  if (header.type !== "targets" || header.step !== step) throw new Error(JSON.stringify(header));
  for (const [name, { data }] of Object.entries(tensors)) {
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  await sleep(PASS_MS);
}
await rank.send({ type: "bye", generation: rank.generation, reason: "" });
await sleep(100);
rank.close();
times.sort((a, b) => a - b);
const median = times[Math.floor(times.length / 2)] ?? 0;
process.stdout.write(`${JSON.stringify({ steps: times.length, hash: hash.digest("hex"), median })}\n`);
