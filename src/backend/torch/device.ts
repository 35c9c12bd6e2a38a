import type { BackendValues, TypedArray } from "@tensorflow/tfjs-core";
import { sentence, UserError } from "../../errors.ts";
import { BYTES, type Datum, type Operand, sizeOf } from "./datum.ts";
import { failureOf, inWords } from "./failures.ts";
import { deliver, Flights, type Read } from "./flights.ts";
import { Ledger } from "./ledger.ts";
import {
  type Attributes,
  asUpload,
  hashOf,
  type Link,
  MAX_PROGRAMS,
  NONE,
  type Run,
  type Spec,
  type Upload,
} from "./program.ts";
import { type Cut, type Instruction, NOTHING, Queue } from "./queue.ts";
import { type Entry, inBrackets, type Site } from "./sites.ts";

export interface DeviceOptions {
  /** Bytes that tensors may take there; default: whatever it has. */
  memory?: number;
  /** Operations that may wait for the next run. Default 100,000. */
  maxQueued?: number;
  /** Told once of every run that failed there. Those who wait for its values learn of it anyway. */
  onFailure?: (error: Error) => void;
}

/** Tensors that a run hands to the rank under names of their own. */
export type Purposes = { [name in "rows" | "metrics" | "prototypes" | "targets"]?: Operand };

/** These give views: their results take no memory of their own. */
const VIEWS = new Set(["Fill", "Reshape", "Slice", "SplitV", "Tile", "Transpose", "Unpack"]);

/**
 * The far device as it is seen from here: what is queued for it, what it holds, which runs are on their way to it.
 * It knows nothing of tfjs's bookkeeping.
 */
export class Device {
  private readonly queue = new Queue();
  private readonly flights = new Flights();
  private readonly ledger = new Ledger();
  /** The programs that the other side knows. */
  private readonly programs = new Set<string>();
  /** What runs were to make that failed, by handle: a run that was sent after one of these fails for it, too. */
  private readonly never = new Map<number, Error>();
  private reads: Read[] = [];
  private scheduled = false;
  private seq = 0;
  private gone: Error | undefined;

  constructor(
    private readonly link: Link,
    private readonly options: DeviceOptions,
  ) {}

  /** Bytes that it holds, as of the last run. */
  get bytes(): number {
    return this.ledger.bytes;
  }

  /**
   * Queues a kernel and gives its outputs, which exist in the queue alone.
   *
   * @throws UserError where more is queued, or would be held, than is allowed; what an input failed with.
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
        `${maxQueued.toLocaleString("en")} operations wait for the device and nobody has asked for a result: does the loop around ${kernel}${inBrackets(site)} end? \`await x.data()\` sends what waits`,
      );
    }
    const bytes = specs.reduce((sum, [dtype, shape]) => sum + sizeOf(shape) * BYTES[dtype], 0);
    if (this.ledger.bytes + bytes > memory && !VIEWS.has(kernel)) {
      const what = inWords({ kernel, inputs: inputs.map(({ dataId }) => dataId) });
      throw new UserError(
        `${what} would take ${mebibytes(bytes)} of the device's memory${inBrackets(site)}, where ${mebibytes(this.ledger.bytes)} of ${mebibytes(memory)} are taken`,
      );
    }
    return this.queue.push(kernel, inputs, attributes, specs, site);
  }

  /** The line that asks for a kernel. */
  siteOf(kernel: string, entry: Entry): Site {
    return this.queue.siteOf(kernel, entry);
  }

  /** A tensor that the other side will bind before the next run: it gets its handle now. */
  expect(datum: Datum): void {
    this.ledger.bind(datum);
  }

  /** Nobody holds it any longer. */
  release(datum: Datum): void {
    if (datum.handle > 0) this.ledger.release(datum);
  }

  /** Its values. All that is asked for in one go travels in one run. */
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

  /** Sends what waits; what was written goes ahead, so that it stays where the program fails. */
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

  /** One run of all that waits, which the caller sends; null where there is nothing to do. Throws where the device is gone. */
  flush(purposes: Purposes): Run | null {
    if (this.gone !== undefined) throw this.gone;
    const { rows, ...ends } = purposes;
    const named: Record<string, Datum> = {};
    for (const [name, operand] of Object.entries(ends)) named[name] = this.queue.keep(operand);
    const cut = this.queue.cut();
    const uploads = this.upload([...cut.inputs, ...Object.values(named)]);
    return this.finish(cut, uploads, { ...(rows && { rows: rows.dataId }), ...named });
  }

  /** Handles for those that JavaScript holds. */
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

  /** A run with all that waits: reads, and what is to be freed after it. null where it would change nothing. */
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
    const seq = ++this.seq; // every run goes out, and in order: the wire waits for one that is missing
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

  /** The name of a program, and its text where the other side has to be told. */
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
        read.reject(new UserError("the backend was disposed of before this was read"));
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

  /** A run failed: it has changed nothing there, and what it was to make does not exist. */
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

  /** The device is gone: whoever waits for values, or asks for anything later, is told `error`. */
  lost(error: Error): void {
    this.gone ??= error;
    const waiting = [...this.flights.takeAll().flatMap(({ reads }) => reads.flat()), ...this.reads];
    this.reads = [];
    for (const { reject } of waiting) reject(this.gone);
  }

  /** Frees all that the device holds, and forgets what waits. */
  reset(): void {
    this.queue.cut();
    this.ledger.releaseAll();
    if (this.gone !== undefined) return;
    this.send(this.finish(NOTHING, NO_UPLOADS, {}));
  }
}

const NO_UPLOADS: Map<Datum, Upload> = new Map();

/** The instruction that gives the largest of the tensors that are to stay; -1 where none gives any. */
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
