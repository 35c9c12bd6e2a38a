import type { BackendValues, TypedArray } from "@tensorflow/tfjs-core";
import type { Run, Upload } from "../../bridge/executor-run.ts";
import { sentence, UserError } from "../../errors.ts";
import type { Instruction } from "./datum.ts";
import { BYTES, type Datum, type Operand, sizeOf } from "./datum.ts";
import { failureOf, inWords } from "./failures.ts";
import { deliver, Flights, type Read } from "./flights.ts";
import { Ledger } from "./ledger.ts";
import { type Attributes, asUpload, hashOf, type Link, MAX_PROGRAMS, NONE, type Spec } from "./program.ts";
import { type Cut, NOTHING, Queue } from "./queue.ts";
import { type Entry, inBrackets, type Site } from "./sites.ts";

export interface DeviceOptions {
  /** Bytes that tensors may use there; default: all of the device's memory. */
  memory?: number;
  /** The largest number of operations that may wait for the next run. Default 100,000. */
  maxQueued?: number;
  /** Called once for every run that failed there, in addition to rejecting its reads. */
  onFailure?: (error: Error) => void;
}

/** Tensors of a run with a special meaning for the rank. */
export type Purposes = { [name in "rows" | "metrics" | "prototypes" | "targets"]?: Operand };

/** Kernels that return views, which need no memory. */
const VIEWS = new Set(["Fill", "Reshape", "Slice", "SplitV", "Tile", "Transpose", "Unpack"]);

/**
 * The remote device as seen from here: the queue for it, the tensors it holds, and the runs sent to it. Independent
 * of tfjs's bookkeeping.
 */
export class Device {
  private readonly queue = new Queue();
  private readonly flights = new Flights();
  private readonly ledger = new Ledger();
  /** The programs that the other side knows. */
  private readonly programs = new Set<string>();
  /** Tensors that failed runs should have created, by handle. A later run that uses one fails with the same error. */
  private readonly never = new Map<number, Error>();
  private reads: Read[] = [];
  private scheduled = false;
  private seq = 0;
  private gone: Error | undefined;

  constructor(
    private readonly link: Link,
    private readonly options: DeviceOptions,
  ) {}

  /** Bytes that the device holds after the last run. */
  get bytes(): number {
    return this.ledger.bytes;
  }

  /**
   * Queues a kernel and returns its outputs, which exist only in the queue.
   *
   * @throws UserError if the queue or the memory would exceed its limit; the error of an input that has failed
   */
  op(
    kernel: string,
    inputs: readonly Operand[],
    attributes: Attributes,
    specs: readonly Spec[],
    site: Site | undefined,
  ): Operand[] {
    const failure = this.gone ?? inputs.find(({ dataId }) => dataId.failure !== undefined)?.dataId.failure;
    if (failure !== undefined) throw failure;
    const { maxQueued = 100_000, memory = Number.POSITIVE_INFINITY } = this.options;
    if (this.queue.length >= maxQueued) {
      throw new UserError(
        `${maxQueued.toLocaleString("en")} operations wait for the device and no result was requested: does the loop around ${kernel}${inBrackets(site)} end? \`await x.data()\` sends them`,
      );
    }
    const bytes = specs.reduce((sum, [dtype, shape]) => sum + sizeOf(shape) * BYTES[dtype], 0);
    if (this.ledger.bytes + bytes > memory && !VIEWS.has(kernel)) {
      const what = inWords({ kernel, inputs: inputs.map(({ dataId }) => dataId) });
      throw new UserError(
        `${what} would take ${mebibytes(bytes)} of the device's memory${inBrackets(site)}, but ${mebibytes(this.ledger.bytes)} of ${mebibytes(memory)} are taken`,
      );
    }
    return this.queue.push(kernel, inputs, attributes, specs, site);
  }

  /** The line of code that calls a kernel. */
  siteOf(kernel: string, entry: Entry): Site {
    return this.queue.siteOf(kernel, entry);
  }

  /** Gives a handle to a tensor that the other side will bind before the next run. */
  expect(datum: Datum): void {
    this.ledger.bind(datum);
  }

  /** Releases a tensor that is no longer held. */
  release(datum: Datum): void {
    if (datum.handle > 0) this.ledger.release(datum);
  }

  /** Reads a tensor's values. All reads of one turn of the event loop share one run. */
  read(datum: Datum): Promise<BackendValues> {
    const broken = datum.failure ?? this.gone;
    if (broken !== undefined) return Promise.reject(broken);
    if (datum.handle === 0) datum.wanted = true;
    if (!this.scheduled) queueMicrotask(() => this.sendReads());
    this.scheduled = true;
    return new Promise((resolve, reject) => this.reads.push({ datum, resolve, reject }));
  }

  private sendReads(): void {
    this.scheduled = false;
    if (this.reads.length > 0) this.sendAll();
  }

  /** Sends all that waits. Uploads go first in a run of their own, so that they survive if the program fails. */
  private sendAll(): void {
    if (this.gone !== undefined) return;
    const cut = this.queue.cut();
    const uploads = this.upload(cut.inputs);
    if (uploads.size > 0 && cut.text !== "") this.send(this.run({ uploads }));
    this.send(this.finish(cut, cut.text === "" ? uploads : NO_UPLOADS, {}));
  }

  private send(run: Run | null): void {
    try {
      if (run !== null) this.link.send(run);
    } catch (error) {
      this.lost(error instanceof Error ? error : new Error(sentence(error)));
    }
  }

  /** Returns everything that is queued as one run, for the caller to send; null if there is nothing. @throws if the device is gone */
  flush(purposes: Purposes): Run | null {
    if (this.gone !== undefined) throw this.gone;
    const { rows, ...ends } = purposes;
    const named: Record<string, Datum> = {};
    for (const [name, operand] of Object.entries(ends)) named[name] = this.queue.keep(operand);
    const cut = this.queue.cut();
    const uploads = this.upload([...cut.inputs, ...Object.values(named)]);
    return this.finish(cut, uploads, { ...(rows && { rows: rows.dataId }), ...named });
  }

  /** Gives handles to data whose values JavaScript holds, and returns the uploads. */
  private upload(data: readonly Datum[]): Map<Datum, Upload> {
    const uploads = new Map<Datum, Upload>();
    for (const datum of data) {
      if (datum.handle > 0 || datum.values === undefined) continue;
      this.ledger.bind(datum);
      uploads.set(datum, asUpload(datum.dtype, datum.shape, datum.values));
      if (!datum.literal) datum.values = undefined;
    }
    return uploads;
  }

  /** Makes a run of a cut, with all pending reads and frees; null if it would do nothing. */
  private finish(cut: Cut, uploads: Map<Datum, Upload>, purposes: Record<string, Datum>): Run | null {
    const base = this.ledger.next;
    for (const datum of cut.outputs) this.ledger.bind(datum);
    for (const datum of [...uploads.keys(), ...cut.inputs, ...cut.outputs]) {
      if (datum.refs === 0) this.ledger.release(datum);
    }
    const reads = this.takeReads();
    const free = this.ledger.takeFreed();
    const count = uploads.size + reads.size + free.length + Object.keys(purposes).length;
    return cut.text === "" && count === 0 ? null : this.run({ cut, base, uploads, reads, free, purposes });
  }

  private run({
    cut = NOTHING,
    base = 0,
    uploads = NO_UPLOADS,
    reads = new Map<Datum, Read[]>(),
    free = [] as number[],
    purposes = {} as Record<string, Datum>,
  }): Run {
    const known = this.programOf(cut);
    const seq = ++this.seq; // every run has to be sent, in order: the receiver waits for a missing one
    this.flights.add({
      seq,
      program: known.program,
      code: cut.code,
      inputs: cut.inputs,
      made: [...uploads.keys(), ...cut.outputs],
      free,
      reads: [...reads.values()],
    });
    const handle = (name: string) => purposes[name]?.handle ?? NONE;
    return {
      seq,
      program: known.program,
      inputs: cut.inputs.map((datum) => datum.handle),
      base,
      free,
      reads: [...reads.keys()].map((datum) => datum.handle),
      literals: cut.literals,
      rows: handle("rows"),
      metrics: handle("metrics"),
      prototypes: handle("prototypes"),
      targets: handle("targets"),
      forget: known.forget,
      ...(known.definition && { definition: known.definition }),
      uploads: new Map(Array.from(uploads, ([datum, upload]) => [datum.handle, upload])),
    };
  }

  /** The name of a program, and its text if it is new to the other side. */
  private programOf({ text }: Cut): { program: string; forget: boolean; definition?: Uint8Array } {
    if (text === "") return { program: "", forget: false };
    const program = hashOf(text);
    if (this.programs.has(program)) return { program, forget: false };
    const forget = this.programs.size >= MAX_PROGRAMS;
    if (forget) this.programs.clear();
    this.programs.add(program);
    return { program, forget, definition: new TextEncoder().encode(text) };
  }

  private takeReads(): Map<Datum, Read[]> {
    const reads = new Map<Datum, Read[]>();
    for (const read of this.reads) {
      if (read.datum.handle === 0)
        read.reject(new UserError("the backend was disposed before this was read"));
      else reads.set(read.datum, [...(reads.get(read.datum) ?? []), read]);
    }
    this.reads = [];
    return reads;
  }

  /** The values that a run read, "0", "1", ... in the order of its reads. */
  values(seq: number, tensors: Readonly<Record<string, { data: TypedArray }>>): void {
    const flight = this.flights.take(seq);
    if (flight !== undefined) deliver(flight, tensors);
  }

  /** Handles a failed run: it has changed nothing there, and its outputs do not exist. */
  failed(seq: number, at: number, kind: string, message: string): void {
    const flight = this.flights.take(seq);
    if (flight === undefined) return;
    const asked = [...flight.inputs, ...flight.reads.flat().map(({ datum }) => datum)];
    const handles = [...asked.map((datum) => datum.handle), ...flight.free];
    const cause = handles.map((handle) => this.never.get(handle)).find((error) => error !== undefined);
    const where = kind === "memory" && at < 0 ? largestOf(flight.code, flight.made) : at;
    const error = (kind === "handle" ? cause : undefined) ?? failureOf(flight.code, where, kind, message);
    this.programs.delete(flight.program);
    this.ledger.undo(flight.made, flight.free);
    for (const datum of flight.made) {
      datum.failure = error;
      this.never.set(datum.handle, error);
    }
    for (const waiting of flight.reads) for (const { reject } of waiting) reject(error);
    if (error !== cause) this.options.onFailure?.(error);
  }

  /** The device is gone: pending reads and all later calls fail with `error`. */
  lost(error: Error): void {
    this.gone ??= error;
    const waiting = [...this.flights.takeAll().flatMap(({ reads }) => reads.flat()), ...this.reads];
    this.reads = [];
    for (const { reject } of waiting) reject(this.gone);
  }

  /** Frees all tensors on the device, and forgets the queue. */
  reset(): void {
    this.queue.cut();
    this.ledger.releaseAll();
    if (this.gone !== undefined) return;
    this.send(this.finish(NOTHING, NO_UPLOADS, {}));
  }
}

const NO_UPLOADS: Map<Datum, Upload> = new Map();

/** The index of the instruction with the largest of the tensors that the run would keep; -1 if there is none. */
function largestOf(code: readonly Instruction[], made: readonly Datum[]): number {
  const largest = made.reduce<Datum | undefined>(
    (a, b) => (a === undefined || b.bytes > a.bytes ? b : a),
    undefined,
  );
  return code.findIndex(({ outputs }) => outputs.some((output) => output === largest));
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
