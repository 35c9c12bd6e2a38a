import type * as tf from "@tensorflow/tfjs-core";
import { withBackend } from "../backend/context.ts";
import { type Purpose, TorchBackend } from "../backend/torch/backend.ts";
import { Datum } from "../backend/torch/datum.ts";
import { NONE } from "../backend/torch/program.ts";
import type { Tensor } from "../bridge/codec.ts";
import type { Run } from "../bridge/executor-run.ts";
import type { Room, RunFailure } from "../bridge/room.ts";
import { RunError } from "../errors.ts";

/** The device of a room's ranks, on which a mixture is computed. All ranks execute the same runs. */
export class Device {
  readonly backend: TorchBackend;
  private waiting: Run[] = [];
  private deliver: ((run: Run) => void) | undefined;
  private failure: Error | undefined;
  /** The rows that the ranks have announced, until a run uses them. */
  private rows: tf.Tensor2D | undefined;
  private waits = 0;

  /** `memory`: bytes that the mixture may use there; by default all that is free. */
  constructor(memory?: number) {
    const onFailure = (error: Error) => {
      this.failure = error;
    };
    this.backend = new TorchBackend(
      { send: (run) => this.send(run) },
      { ...(memory !== undefined && { memory }), onFailure },
    );
  }

  /** Runs `work`, including what it awaits, with this device as tfjs's backend. */
  run<T>(work: () => T): T {
    return withBackend("torch", this.backend, work);
  }

  /** How often values were read from the device so far, a round trip each. */
  get roundTrips(): number {
    return this.waits;
  }

  /** The rows (N x D) that every rank holds for a step. The caller disposes them after `flush` or `settle`. */
  announce(shape: [number, number]): tf.Tensor2D {
    this.rows = this.backend.announce(shape);
    return this.rows;
  }

  /** Returns all pending operations as one run, for the caller to send; null if there are none. */
  flush(purpose: Omit<Purpose, "rows">): Run | null {
    const { rows } = this;
    this.rows = undefined;
    return this.backend.flush(rows === undefined ? purpose : { ...purpose, rows });
  }

  /** After a failed step: makes the ranks forget the rows that they have announced for it. */
  settle(): void {
    if (this.rows === undefined || this.failure !== undefined) return;
    const run = this.flush({});
    if (run !== null) this.post(run);
  }

  /** See Room.attach. Sends the runs that were requested before the ranks joined. */
  attach(send: Parameters<NonNullable<Room["attach"]>>[0]): void {
    this.deliver = send;
    for (const run of this.waiting.splice(0)) send(run);
  }

  /** See Room.values. */
  values(seq: number, tensors: Tensor[]): void {
    this.backend.values(seq, Object.fromEntries(tensors.entries()));
  }

  /** The error of a run that failed on a rank: the operation, its shapes, the line of code that called it. */
  failed({ seq, at, code, message }: RunFailure): Error {
    this.backend.failed(seq, at, code, message);
    return this.failure ?? new RunError("device-failed", message);
  }

  /** The ranks are gone, and their tensors with them. Pending reads fail with `why`. */
  lost(why: string): void {
    this.failure ??= new RunError("peer-lost", why);
    this.backend.lost(this.failure);
  }

  dispose(): void {
    this.backend.dispose();
  }

  /** Sends a run in the middle of a step. It may be the first to use the announced rows. */
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
