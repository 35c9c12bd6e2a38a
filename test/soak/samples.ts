import { readdir, readFile } from "node:fs/promises";
import * as tf from "@tensorflow/tfjs-core";

/** What a run holds after so many steps, and the processor's time that they took. Linux alone can tell. */
export interface Sample {
  step: number;
  /** Node: bytes in memory, and of these what JavaScript holds. */
  nodeBytes: number;
  heapBytes: number;
  /** Sockets, timers, processes and the like that keep Node alive. */
  nodeHandles: number;
  nodeFiles: number;
  /** Tensors of the mixture that exist, wherever they are. */
  tensors: number;
  workerBytes: number;
  workerFiles: number;
  workerThreads: number;
  /** Seconds of the processor, of Node and the worker, so far. Those of the clock would measure the machine's other users. */
  seconds: number;
}

/** The worker that this process has launched. */
export async function findWorker(): Promise<number> {
  for (const pid of await descendants(process.pid)) {
    const args = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (args.includes("work") && args.includes("mixhead.worker")) return pid;
  }
  throw new Error("the run has no worker");
}

export async function sample(step: number, worker: number): Promise<Sample> {
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    step,
    nodeBytes: rss,
    heapBytes: heapUsed + external,
    nodeHandles: process.getActiveResourcesInfo().length,
    nodeFiles: await openFiles(process.pid),
    tensors: tf.memory().numTensors,
    workerBytes: 1024 * (await statusNumber(worker, "VmRSS")),
    workerFiles: await openFiles(worker),
    workerThreads: await statusNumber(worker, "Threads"),
    seconds: (user + system) / 1e6 + (await processorSeconds(worker)),
  };
}

async function openFiles(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

async function statusNumber(pid: number, name: string): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? Number.NaN);
}

/** proc(5): utime and stime are fields 14 and 15, in hundredths of a second. */
async function processorSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function descendants(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const texts = threads.map((thread) =>
    readFile(`/proc/${pid}/task/${thread}/children`, "utf8").catch(() => ""),
  );
  const children = (await Promise.all(texts)).flatMap((text) => text.split(" ").filter(Boolean).map(Number));
  return [...children, ...(await Promise.all(children.map(descendants))).flat()];
}
