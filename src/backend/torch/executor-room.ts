import { RejectError } from "../../bridge/errors.ts";
import type { Run } from "../../bridge/executor-run.ts";
import type { Hello, Room, RunFailure, Welcome } from "../../bridge/room.ts";
import { RunError } from "../../errors.ts";
import { TorchBackend } from "./backend.ts";
import type { DeviceOptions } from "./device.ts";
import { KERNELS_VERSION } from "./program.ts";

/** A room for one executor, which only executes the runs of a backend. */
export class ExecutorRoom implements Room {
  readonly components = 0;
  readonly dim = 0;
  readonly backend: TorchBackend;
  /** The name of the executor's device; resolves when it has joined. */
  readonly joined: Promise<string>;
  private join: (device: string) => void = () => {};
  private fail: (error: Error) => void = () => {};
  private deliver: ((run: Run) => void) | undefined;

  constructor(options: DeviceOptions) {
    this.backend = new TorchBackend({ send: (run) => this.send(run) }, options);
    this.joined = new Promise((resolve, reject) => {
      this.join = resolve;
      this.fail = reject;
    });
    this.joined.catch(() => {}); // `connect` handles it, unless it has given up
  }

  private send(run: Run): void {
    if (this.deliver === undefined) throw new RunError("peer-lost", "no executor has joined");
    this.deliver(run);
  }

  attach(send: (run: Run) => void): void {
    this.deliver = send;
  }

  welcome({ executor, device }: Hello): Welcome {
    if (executor !== KERNELS_VERSION) {
      const why = `the executor has version ${executor} of the kernels, this side ${KERNELS_VERSION}: install the same mixhead on both`;
      this.gone(new RunError("protocol", why));
      throw new RejectError("version", why);
    }
    this.join(device);
    return { step: 0, config: "", commands: [] };
  }

  values(seq: number, tensors: Parameters<NonNullable<Room["values"]>>[1]): void {
    this.backend.values(seq, Object.fromEntries(tensors.entries()));
  }

  failed(_rank: number, { seq, at, code, message }: RunFailure): undefined {
    this.backend.failed(seq, at, code, message);
  }

  lost(_rank: number, why: string): void {
    this.gone(new RunError("peer-lost", `the executor is gone: ${why}`));
  }

  left(_rank: number, reason: string): void {
    this.gone(new RunError("peer-lost", `the executor has left${reason && `: ${reason}`}`));
  }

  /** The executor is gone: fails everything that waits for it. */
  gone(error: Error): void {
    this.fail(error);
    this.backend.lost(error);
  }
}
