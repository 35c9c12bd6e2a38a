import type * as tf from "@tensorflow/tfjs-core";
import { withBackend } from "../backend/context.ts";
import { type Purpose, TorchBackend } from "../backend/torch/backend.ts";
import { Datum } from "../backend/torch/datum.ts";
import { NONE, type Run } from "../backend/torch/program.ts";
import type { Tensor } from "../bridge/codec.ts";
import type { Room, RunFailure } from "../bridge/room.ts";
import { RunError } from "../errors.ts";

/** The device of a room's ranks, on which a mixture is computed: all ranks carry out the same runs. */
export class Device {
  readonly backend: TorchBackend;
  private waiting: Run[] = [];
  private deliver: ((run: Run) => void) | undefined;
  private failure: Error | undefined;
  /** The rows that the ranks have announced, until a run has named them. */
  private rows: tf.Tensor2D | undefined;
  private waits = 0;

  /** `memory`: bytes that the mixture may take there; whatever is free, where it is left out. */
  constructor(memory?: number) {
    const onFailure = (error: Error) => {
      this.failure = error;
    };
    this.backend = new TorchBackend(
      { send: (run) => this.send(run) },
      { ...(memory !== undefined && { memory }), onFailure },
    );
  }

  /** Does `work` with this device as tfjs's backend, in whatever it awaits too. */
  run<T>(work: () => T): T {
    return withBackend("torch", this.backend, work);
  }

  /** How often something has waited for values so far: a round trip each. */
  get roundTrips(): number {
    return this.waits;
  }

  /** The rows (N x D) that every rank holds for a step. The caller disposes of them, after `flush` or `settle`. */
  announce(shape: [number, number]): tf.Tensor2D {
    this.rows = this.backend.announce(shape);
    return this.rows;
  }

  /** All that waits as one run, which the caller sends; null where there is nothing to do. */
  flush(purpose: Omit<Purpose, "rows">): Run | null {
    const { rows } = this;
    this.rows = undefined;
    return this.backend.flush(rows === undefined ? purpose : { ...purpose, rows });
  }

  /** After a step that failed: the ranks forget the rows that they have announced for it. */
  settle(): void {
    if (this.rows === undefined || this.failure !== undefined) return;
    const run = this.flush({});
    if (run !== null) this.post(run);
  }

  /** See Room.attach. What was asked for before there was a world is carried out now. */
  attach(send: Parameters<NonNullable<Room["attach"]>>[0]): void {
    this.deliver = send;
    for (const run of this.waiting.splice(0)) send(run);
  }

  /** See Room.values. */
  values(seq: number, tensors: Tensor[]): void {
    this.backend.values(seq, Object.fromEntries(tensors.entries()));
  }

  /** What a run failed with on a rank, in a sentence: the operation, its shapes, the line that asked for it. */
  failed({ seq, at, code, message }: RunFailure): Error {
    this.backend.failed(seq, at, code, message);
    return this.failure ?? new RunError("device-failed", message);
  }

  /** The ranks are gone, and their tensors with them: those who wait for values are told `why`. */
  lost(why: string): void {
    this.failure ??= new RunError("peer-lost", why);
    this.backend.lost(this.failure);
  }

  dispose(): void {
    this.backend.dispose();
  }

  /** A run that somebody waits for. It may compute with rows that no run has named yet. */
  private send(run: Run): void {
    if (run.reads.length > 0) this.waits += 1;
    const handle = this.rows === undefined ? NONE : handleOf(this.rows);
    this.rows = undefined;
    this.post(handle === NONE ? run : { ...run, rows: handle });
  }

  private post(run: Run): void {
    if (this.deliver === undefined) this.waiting.push(run);
    else this.deliver(run);
  }
}

function handleOf({ dataId }: tf.Tensor): number {
  return dataId instanceof Datum ? dataId.handle : NONE;
}
