import { withBackend } from "../backend/context.ts";
import { TorchBackend } from "../backend/torch/backend.ts";
import type { Run } from "../backend/torch/program.ts";
import type { Tensor } from "../bridge/codec.ts";
import type { Room, RunFailure } from "../bridge/room.ts";
import { RunError } from "../errors.ts";

/** The device of a room's ranks, on which a mixture is computed: all ranks carry out the same runs. */
export class Device {
  readonly backend: TorchBackend;
  private waiting: Run[] = [];
  private deliver: ((run: Run) => void) | undefined;
  private failure: Error | undefined;

  /** `memory`: bytes that the mixture may take there; whatever is free, where it is left out. */
  constructor(memory?: number) {
    const send = (run: Run) => {
      if (this.deliver === undefined) this.waiting.push(run);
      else this.deliver(run);
    };
    const onFailure = (error: Error) => {
      this.failure = error;
    };
    this.backend = new TorchBackend({ send }, { ...(memory !== undefined && { memory }), onFailure });
  }

  /** Does `work` with this device as tfjs's backend, in whatever it awaits too. */
  run<T>(work: () => T): T {
    return withBackend("torch", this.backend, work);
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

  /** The sentence for a run that failed on a rank: the operation, its shapes, the line that asked for it. */
  failed({ seq, at, code, message }: RunFailure): string {
    this.backend.failed(seq, at, code, message);
    return this.failure?.message ?? message;
  }

  /** The ranks are gone, and their tensors with them: those who wait for values are told `why`. */
  lost(why: string): void {
    this.backend.lost(new RunError("peer-lost", why));
  }

  dispose(): void {
    this.backend.dispose();
  }
}
