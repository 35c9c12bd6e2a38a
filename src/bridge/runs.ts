import { sentence } from "../errors.ts";
import { encode, type Frames, type Tensors } from "./codec.ts";
import type { Run } from "./executor-run.ts";
import { tell } from "./hooks.ts";
import type { RunInfo } from "./protocol.ts";
import type { Room, RunFailure } from "./room.ts";

/** A rank that executes runs. */
export interface Runner {
  readonly hello: { rank: number };
  readonly generation: string;
  send(frames: Frames): void;
}

/**
 * The runs of one world. Each run is sent to every rank, once and in order, so that all ranks hold the same tensors. A
 * rank that joins later gets the runs that it has missed. Values are read from one rank.
 */
export class Runs<R extends Runner> {
  /** All runs so far, kept until every rank has joined. */
  private missed: Run[] = [];
  /** The ranks that were sent every run, in rank order. */
  private current: R[] = [];
  /** `seq` of the last run that was sent; it counts up by one. */
  private last: number | undefined;
  /** Runs that wait for an earlier one, which is sent with the answer to a step. */
  private held: Run[] = [];
  /** The rank whose request the room is working on. */
  private asker: R | undefined;
  /** The rank that sends the values of a run, by the run's seq. */
  private readonly readers = new Map<number, R>();

  /** `size`: how many ranks the world has. */
  constructor(
    private readonly size: number,
    private readonly room: Pick<Room, "attach" | "values" | "failed">,
  ) {
    room.attach?.((run) => this.queue(run));
  }

  /** Sends a run of the room at once, unless an earlier one is yet to be sent with an answer. */
  private queue(run: Run): void {
    if (this.last !== undefined && run.seq > this.last + 1) this.held.push(run);
    else this.send(run);
  }

  /** Notes that a run was sent to its ranks, and sends the run that waited for it. */
  sent(run: Run): void {
    this.last = run.seq;
    const next = this.held.findIndex(({ seq }) => seq === run.seq + 1);
    for (const follower of next < 0 ? [] : this.held.splice(next, 1)) this.send(follower);
  }

  /**
   * Does work that `rank` requested and waits for. Until it is done, values are read from that rank, because the
   * others may be busy for long or wait for this rank.
   */
  async askedBy<T>(rank: R, work: () => T | Promise<T>): Promise<T> {
    this.asker = rank;
    try {
      return await work();
    } finally {
      this.asker = undefined;
    }
  }

  /** Sends a new rank the runs that it has missed. Call it before its welcome, which may wait for values of runs. */
  catchUp(rank: R): void {
    if (this.current.includes(rank)) return;
    const isFirst = this.current.length === 0;
    this.current = [...this.current, rank].sort((a, b) => a.hello.rank - b.hello.rank);
    for (const run of this.missed) execute(rank, isFirst ? this.as(rank, run) : { ...run, reads: [] });
    if (this.current.length === this.size) this.missed = [];
  }

  /** Sends a run to every rank but `except`, which gets it in another message; then call `sent`. */
  send(run: Run, except?: R): void {
    if (this.current.length < this.size) this.missed.push(run);
    for (const rank of this.current) if (rank !== except) execute(rank, this.as(rank, run));
    if (except === undefined) this.sent(run);
  }

  /** The run as a rank gets it: only one rank is asked for values. */
  as(rank: R, run: Run): Run {
    if (run.reads.length === 0) return run;
    if (!this.isReader(rank)) return { ...run, reads: [] };
    this.readers.set(run.seq, rank);
    return run;
  }

  /** Passes the values that a run read to the room at once, even during a step. */
  values(rank: R, seq: number, read: () => Tensors): void {
    if (this.readers.get(seq) !== rank) return;
    this.readers.delete(seq);
    try {
      this.room.values?.(seq, Object.values(read()));
    } catch (error) {
      this.failed(rank, { seq, at: -1, code: "failed", message: sentence(error) });
    }
  }

  /** Tells the room at once that a run failed. Returns the message for the ranks that wait. */
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

  /** Values are read from the rank whose request is being processed, otherwise from the first rank. */
  private isReader(rank: R): boolean {
    const { asker } = this;
    return rank === (asker && this.current.includes(asker) ? asker : this.current[0]);
  }
}

function execute(rank: Runner, run: Run): void {
  const { generation } = rank;
  rank.send(encode({ type: "execute", generation, run: runInfo(run) }, runTensors(run)));
}

/** A run as a header holds it. */
export function runInfo(run: Run): RunInfo {
  const { definition: _, uploads: __, literals, ...info } = run;
  return { ...info, literals: float64Bytes(literals) };
}

/** The tensors of a run's message. */
export function runTensors({ definition, uploads }: Run): Tensors {
  const tensors: Tensors = {};
  if (definition) tensors.definition = { dtype: "uint8", shape: [definition.length], data: definition };
  for (const [handle, upload] of uploads) tensors[`upload.${handle}`] = upload;
  return tensors;
}

function float64Bytes(values: readonly number[]): RunInfo["literals"] {
  return new Uint8Array(Float64Array.from(values).buffer);
}
