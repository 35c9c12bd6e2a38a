import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { Router } from "zeromq";
import { z } from "zod";
import { encode, type Frames } from "../../src/bridge/codec.ts";
import { WireError } from "../../src/bridge/errors.ts";
import { decode } from "../bridge/decode.ts";
import { PYTHON } from "../bridge/peers.ts";
import { Answers } from "./answers.ts";

const pythonEnv = fileURLToPath(new URL("../../python_env", import.meta.url));
/** The client's memory has settled after this share of the messages. */
const WARM = 0.2;

const outcomes = z.record(z.string(), z.int());

/** What came of it. Memory in MB of the client's resident set. */
export interface ClientReport {
  seed: number;
  sent: number;
  seconds: number;
  /** How often a call of the Python client gave what: "taken", or the class of the error. */
  python: Record<string, number>;
  /** The same of reading each answer in TypeScript. */
  typescript: Record<string, number>;
  memory: { warm: number; after: number };
}

/**
 * A hostile server: sends `messages` generated answers to a real Python client, and reads each of them in TypeScript
 * too. Throws if the client crashes, hangs, or raises anything but a BridgeError.
 */
export async function fuzzClient(seed: number, messages: number): Promise<ClientReport> {
  const answers = new Answers(seed);
  const socket = new Router({ linger: 0, sendHighWaterMark: 0 });
  await socket.bind("tcp://127.0.0.1:*");
  const client = spawn(PYTHON, ["-m", "tests.bridge.attacked", socket.lastEndpoint ?? "", String(seed)], {
    cwd: pythonEnv,
    env: { ...process.env, OMP_NUM_THREADS: "1", PYTHONPATH: pythonEnv },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said = text(client.stdout);
  const ended = once(client, "exit").finally(() => socket.close());
  const typescript: Record<string, number> = {};
  const memory = { warm: 0, after: 0 };
  const began = performance.now();
  let sent = 0;
  for await (const [routing, ...frames] of socket) {
    const request = decode(frames);
    if (sent >= messages) {
      memory.after ||= await megabytes(client.pid);
      await socket.send([routing ?? "", ...encode({ type: "reject", code: "busy", message: "enough" })]);
      continue;
    }
    if (memory.warm === 0 && sent >= WARM * messages) memory.warm = await megabytes(client.pid);
    for (const answer of answers.to(request)) {
      const read = readInTypeScript(answer);
      typescript[read] = (typescript[read] ?? 0) + 1;
      sent++;
      await socket.send([routing ?? "", ...(answer.length > 0 ? answer : [""])]);
    }
  }
  const [status] = await ended;
  if (status !== 0) throw new Error(`the client ended with ${status}`);
  const seconds = (performance.now() - began) / 1000;
  return { seed, sent, seconds, python: outcomes.parse(JSON.parse(await said)), typescript, memory };
}

function readInTypeScript(frames: Frames): string {
  try {
    decode(frames);
    return "taken";
  } catch (error) {
    if (error instanceof WireError) return `${error.name} ${error.code}`;
    throw error;
  }
}

/** Resident memory of a process, as Linux tells it. */
async function megabytes(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN) / 1024);
}
