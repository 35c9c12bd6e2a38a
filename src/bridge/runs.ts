import { sentence } from "../errors.ts";
import { encode, type Frames, type Tensors } from "./codec.ts";
import type { Run } from "./executor-run.ts";
import { tell } from "./hooks.ts";
import type { RunInfo } from "./protocol.ts";
import type { Room, RunFailure } from "./room.ts";

/** A rank that runs are sent to. */
export interface Runner {
  readonly hello: { rank: number };
  readonly generation: string;
  send(frames: Frames): void;
}

/**
 * The runs of one world. Each goes to every rank, once and in order, so that all hold the same tensors; a
 * rank that joins later gets those that it has missed. Values are read from one rank.
 */
export class Runs<R extends Runner> {
  /** Runs so far, while ranks are missing. */
  private missed: Run[] = [];
  /** The ranks that have had every run, in rank order. */
  private current: R[] = [];
  /** The last run that went out; they count up by one. */
  private last: number | undefined;
  /** Runs that wait for one before them, which travels with the answer to a step. */
  private held: Run[] = [];
  /** The rank that waits for what the room does. */
  private asker: R | undefined;
  /** Who was asked for what a run reads, by its seq. */
  private readonly readers = new Map<number, R>();

  /** `size`: how many ranks the world has. */
  constructor(
    private readonly size: number,
    private readonly room: Pick<Room, "attach" | "values" | "failed">,
  ) {
    room.attach?.((run) => this.queue(run));
  }

  /** A run of the room's own. It goes out at once, unless the answer under way carries one before it. */
  private queue(run: Run): void {
    if (this.last !== undefined && run.seq > this.last + 1) this.held.push(run);
    else this.send(run);
  }

  /** A run has gone out, to whoever it was for: what waited for it may follow. */
  sent(run: Run): void {
    this.last = run.seq;
    const next = this.held.findIndex(({ seq }) => seq === run.seq + 1);
    for (const follower of next < 0 ? [] : this.held.splice(next, 1)) this.send(follower);
  }

  /**
   * Does what `rank` has asked for and waits for. Values are read from that rank meanwhile: the others may be
   * busy for long, or wait for it elsewhere.
   */
  async askedBy<T>(rank: R, work: () => T | Promise<T>): Promise<T> {
    this.asker = rank;
    try {
      return await work();
    } finally {
      this.asker = undefined;
    }
  }

  /** A rank is about to be welcomed, which may wait for what runs read: sends what it has missed. */
  catchUp(rank: R): void {
    if (this.current.includes(rank)) return;
    const isFirst = this.current.length === 0;
    this.current = [...this.current, rank].sort((a, b) => a.hello.rank - b.hello.rank);
    for (const run of this.missed) execute(rank, isFirst ? this.as(rank, run) : { ...run, reads: [] });
    if (this.current.length === this.size) this.missed = [];
  }

  /** Sends a run to every rank but `except`, which gets it with another message; tell `sent` of that. */
  send(run: Run, except?: R): void {
    if (this.current.length < this.size) this.missed.push(run);
    for (const rank of this.current) if (rank !== except) execute(rank, this.as(rank, run));
    if (except === undefined) this.sent(run);
  }

  /** The run as a rank gets it: one rank alone is asked for values. */
  as(rank: R, run: Run): Run {
    if (run.reads.length === 0) return run;
    if (!this.isReader(rank)) return { ...run, reads: [] };
    this.readers.set(run.seq, rank);
    return run;
  }

  /** What a run read. The room hears of it at once, whatever it is at work on. */
  values(rank: R, seq: number, read: () => Tensors): void {
    if (this.readers.get(seq) !== rank) return;
    this.readers.delete(seq);
    try {
      this.room.values?.(seq, Object.values(read()));
    } catch (error) {
      this.failed(rank, { seq, at: -1, code: "failed", message: sentence(error) });
    }
  }

  /** A rank could not carry out a run. The room hears of it at once, and gives the sentence for those who wait. */
  failed(rank: R, failure: RunFailure): string {
    if (this.readers.get(failure.seq) === rank) this.readers.delete(failure.seq);
    let why: string | undefined;
    tell(() => {
      why = this.room.failed?.(rank.hello.rank, failure);
    });
    return why ?? failure.message;
  }

  remove(rank: R): void {
    this.current = this.current.filter((each) => each !== rank);
    for (const [seq, reader] of this.readers) if (reader === rank) this.readers.delete(seq);
  }

  /** Values are read from whoever waits for what is made of them; where all do, from the first. */
  private isReader(rank: R): boolean {
    const { asker } = this;
    return rank === (asker && this.current.includes(asker) ? asker : this.current[0]);
  }
}

function execute(rank: Runner, run: Run): void {
  const { generation } = rank;
  rank.send(encode({ type: "execute", generation, run: runInfo(run) }, runTensors(run)));
}

/** A run as headers carry it. */
export function runInfo(run: Run): RunInfo {
  const { definition: _, uploads: __, literals, ...info } = run;
  return { ...info, literals: float64Bytes(literals) };
}

/** The tensors that travel with a run. */
export function runTensors({ definition, uploads }: Run): Tensors {
  const tensors: Tensors = {};
  if (definition) tensors.definition = { dtype: "uint8", shape: [definition.length], data: definition };
  for (const [handle, upload] of uploads) tensors[`upload.${handle}`] = upload;
  return tensors;
}

function float64Bytes(values: readonly number[]): RunInfo["literals"] {
  return new Uint8Array(Float64Array.from(values).buffer);
}
