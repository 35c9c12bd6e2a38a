import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Dealer } from "zeromq";
import { z } from "zod";
import { decodeHeader } from "../../src/bridge/codec.ts";
import { WireError } from "../../src/bridge/errors.ts";
import { Generator } from "./generate.ts";
import { D, K, LEGITIMATE } from "./mutator.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const TYPESCRIPT = ["--import", join(root, "register.mjs")];
/** Connections at a time, and messages of each until another takes its place. */
const CONNECTIONS = 8;
const MESSAGES_EACH = 400;
/** Connections that have sent all, and wait for answers, at a time. */
const MOST_LEAVING = 100;
/** After so many milliseconds without an answer none is to come. */
const SILENT_MS = 2000;
/** The server's memory has settled after this share of the messages. */
const WARM = 0.1;

const outcome = z.strictObject({ steps: z.int(), hash: z.string(), median: z.number() });

/** What came of it. Memory in MB of the server's resident set, times in milliseconds. */
export interface Report {
  seed: number;
  sent: number;
  seconds: number;
  /** How often the server answered what: "reject shape", "error order", "welcome", ... */
  answers: Record<string, number>;
  memory: { before: number; warm: number; after: number };
  /** The legitimate client during the flood, and another that does the same after it. */
  flooded: z.infer<typeof outcome>;
  alone: z.infer<typeof outcome>;
}

/**
 * Sends `messages` generated messages to a server of its own, while a legitimate client takes its steps, and then has
 * another client take the same steps without a flood. Throws where the server or the client ends.
 */
export async function fuzz(seed: number, messages: number): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), "mixhead-fuzz-"));
  const serve = ["serve", "--json", "--endpoint", "tcp://127.0.0.1:*", "--state", join(folder, "state")];
  const sizes = ["backend=wasm", `plugin.components=${K}`, `head.dim=${D}`];
  const server = start(join(root, "src/cli/plugin.ts"), ...serve, ...sizes);
  try {
    const { endpoint } = z.object({ endpoint: z.string() }).parse(JSON.parse(await firstLine(server)));
    const before = await megabytes(server);
    const client = start(join(root, "test/fuzz/legitimate.ts"), endpoint, LEGITIMATE, "0");
    const lines = linesOf(client);
    await lines.next();
    let warm = before;
    const answers: Record<string, number> = {};
    const began = performance.now();
    await flood(seed, messages, {
      endpoint,
      answers,
      onWarm: async () => {
        warm = await megabytes(server);
      },
    });
    const seconds = (performance.now() - began) / 1000;
    client.stdin?.end();
    const flooded = outcome.parse(JSON.parse(String((await lines.next()).value)));
    const after = await megabytes(server);
    const again = start(join(root, "test/fuzz/legitimate.ts"), endpoint, "another", String(flooded.steps));
    const said = linesOf(again);
    await said.next();
    const alone = outcome.parse(JSON.parse(String((await said.next()).value)));
    return { seed, sent: messages, seconds, answers, memory: { before, warm, after }, flooded, alone };
  } finally {
    server.kill("SIGTERM");
    if (server.exitCode === null) await once(server, "exit");
    await rm(folder, { recursive: true, force: true });
  }
}

interface Flood {
  endpoint: string;
  answers: Record<string, number>;
  onWarm(): Promise<void>;
}

async function flood(seed: number, messages: number, { endpoint, answers, onWarm }: Flood): Promise<void> {
  const generator = new Generator(seed);
  const connections: Attacker[] = [];
  const reading: Promise<void>[] = [];
  const leaving = new Set<Promise<void>>();
  let made = 0;
  for (let sent = 0; sent < messages; sent++) {
    const at = sent % CONNECTIONS;
    let attacker = connections[at];
    if (!attacker || attacker.sent >= MESSAGES_EACH) {
      if (attacker) {
        const left = attacker.leave();
        leaving.add(left);
        void left.then(() => leaving.delete(left));
      }
      if (leaving.size > MOST_LEAVING) await Promise.race(leaving);
      attacker = connections[at] = new Attacker(endpoint, `attacker ${made++}`);
      reading.push(attacker.read(answers));
    }
    await attacker.send(generator.next(attacker.generation));
    if (sent === Math.floor(messages * WARM)) await onWarm();
  }
  await Promise.all([...reading, ...leaving, ...connections.map((each) => each.leave())]);
}

class Attacker {
  readonly socket = new Dealer({ linger: 2000, sendHighWaterMark: 200 });
  sent = 0;
  private heard = performance.now();

  constructor(
    endpoint: string,
    readonly generation: string,
  ) {
    this.socket.connect(endpoint);
  }

  async send(frames: Uint8Array[]): Promise<void> {
    this.sent++;
    await this.socket.send(frames.length > 0 ? frames : [new Uint8Array()]);
  }

  /** Closes once no answer has come for a while: a server under a flood is behind with them. */
  async leave(): Promise<void> {
    this.heard = performance.now();
    while (performance.now() - this.heard < SILENT_MS) await sleep(SILENT_MS / 10);
    this.socket.close();
  }

  async read(answers: Record<string, number>): Promise<void> {
    for await (const frames of this.socket) {
      this.heard = performance.now();
      const answer = nameOf(frames);
      answers[answer] = (answers[answer] ?? 0) + 1;
    }
  }
}

function nameOf(frames: Uint8Array[]): string {
  try {
    const header = decodeHeader(frames);
    return "code" in header ? `${header.type} ${header.code}` : header.type;
  } catch (error) {
    if (error instanceof WireError) return "no message";
    throw error;
  }
}

function start(script: string, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [...TYPESCRIPT, script, ...args], {
    stdio: ["pipe", "pipe", script.endsWith("plugin.ts") ? "ignore" : "inherit"],
    env: { ...process.env, OMP_NUM_THREADS: "1" },
  });
  return child;
}

function linesOf(child: ChildProcess): AsyncIterator<string> {
  if (!child.stdout) throw new Error("the process has no standard output");
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
}

async function firstLine(child: ChildProcess): Promise<string> {
  return String((await linesOf(child).next()).value);
}

/** Resident memory of a process, as Linux tells it. */
async function megabytes({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN) / 1024);
}
