import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeAtomic } from "../files/atomic.ts";
import type { Job } from "./run-folder.ts";

/**
 * A Chrome trace: what chrome://tracing and Perfetto open. `ts` and `dur` are microseconds of the
 * machine's monotonic clock; a lane is a process (`pid`) and a thread of it (`tid`).
 */
const traceEvent = z.looseObject({
  name: z.string(),
  /** X: a span; M: the name of a process or a thread. */
  ph: z.enum(["X", "M"]),
  pid: z.int(),
  tid: z.int(),
  ts: z.number().optional(),
  dur: z.number().optional(),
  args: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
});
export type TraceEvent = z.infer<typeof traceEvent>;

/** Times the parts of Node's side of a training. */
export interface Spans {
  /** Does the work; a span of that name, of that step, is as long as it takes. */
  time<T>(name: string, step: number, work: () => Promise<T>): Promise<T>;
}

/** Where no trace is asked for. */
export const untraced: Spans = { time: (_name, _step, work) => work() };

/** The trace of a run: Node notes its spans, each worker writes its own, and `end` lays them side by side. */
export class Trace {
  private readonly events: TraceEvent[] = [];
  private readonly jobs: Job[] = [];

  private constructor(private readonly file: string) {
    this.events.push(processName(process.pid, "Node"));
  }

  /** @throws UserError if the file cannot be written. */
  static async begin(file: string): Promise<Trace> {
    await writeAtomic(file, ["[]\n"]);
    return new Trace(file);
  }

  /** What a training's worker has to find in its environment. */
  workerEnv(job: Job): Record<string, string> {
    return { MIXHEAD_TRACE: workerFile(job) };
  }

  /** Node's spans of one training. */
  spans(job: Job): Spans {
    const tid = this.jobs.push(job);
    this.events.push(threadName(process.pid, tid, job.label));
    return {
      time: async (name, step, work) => {
        const began = microseconds();
        try {
          return await work();
        } finally {
          const dur = microseconds() - began;
          this.events.push({ name, ph: "X", pid: process.pid, tid, ts: began, dur, args: { step } });
        }
      },
    };
  }

  /** Writes the file: all spans so far, in the order of their starts. */
  async end(): Promise<void> {
    const events = [...this.events];
    for (const job of this.jobs) {
      const own = await readWorkerFile(job);
      const [first] = own;
      if (first) events.push(processName(first.pid, `${job.label}: PyTorch`), ...own);
      await rm(workerFile(job), { force: true });
    }
    events.sort((a, b) => (a.ts ?? 0) - (b.ts ?? 0));
    await writeAtomic(this.file, [`[\n${events.map((event) => JSON.stringify(event)).join(",\n")}\n]\n`]);
  }
}

/** Reads a trace back. */
export async function readTrace(file: string): Promise<TraceEvent[]> {
  return z.array(traceEvent).parse(JSON.parse(await readFile(file, "utf8")));
}

function microseconds(): number {
  return Number(process.hrtime.bigint()) / 1e3;
}

function workerFile(job: Job): string {
  return join(job.folder, "trace.jsonl");
}

/** A worker's events. The last line of a killed worker may be cut off. */
async function readWorkerFile(job: Job): Promise<TraceEvent[]> {
  const text = await readFile(workerFile(job), "utf8").catch(() => "");
  const lines = text.split("\n").slice(0, -1);
  return lines.map((line) => traceEvent.parse(JSON.parse(line)));
}

function processName(pid: number, name: string): TraceEvent {
  return { name: "process_name", ph: "M", pid, tid: 0, args: { name } };
}

function threadName(pid: number, tid: number, name: string): TraceEvent {
  return { name: "thread_name", ph: "M", pid, tid, args: { name } };
}
