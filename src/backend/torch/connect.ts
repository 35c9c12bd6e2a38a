import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import type { Worker } from "../../bridge/launch.ts";
import { BridgeServer } from "../../bridge/server.ts";
import { type ControlShare, shareControl } from "../../bridge/shared-control.ts";
import { RunError, UserError } from "../../errors.ts";
import { pythonPath } from "../../files/python.ts";
import { makeTemporaryFolder } from "../../files/temporary.ts";
import { askedThreads, coresOfQuota } from "../cores.ts";
import type { TorchBackend } from "./backend.ts";
import type { DeviceOptions } from "./device.ts";
import { ExecutorRoom } from "./executor-room.ts";

export interface ConnectOptions extends DeviceOptions {
  /** "cpu", "cuda", "cuda:1", ...; "auto" (default): CUDA if available. */
  device?: string;
  /** The interpreter; default: MIXHEAD_PYTHON, or the one that set-up has installed. */
  python?: string;
  /** Threads of a CPU; default: PyTorch's choice, or fewer if the control group allows fewer. */
  threads?: number;
  /** Seconds that Python may take to start. Default 120. */
  deadline?: number;
}

/** A Python process that executes the operations of a backend. */
export interface Connection {
  backend: TorchBackend;
  /** "cpu", "cuda:0 NVIDIA H100", ... */
  device: string;
  /** The process ID of Python. */
  pid: number;
  /** Ends Python; its tensors are lost. This process does not exit before that. */
  close(): Promise<void>;
}

const RUN = "torch";

/**
 * Starts a Python process that computes for this process. Then `await tf.setBackend("torch")` makes it tfjs's
 * backend. With several connections that is the first open one; `withBackend` can use any of them.
 *
 * @throws UserError if the interpreter or the device does not exist; RunError if Python does not start in time
 */
export async function connect(options: ConnectOptions = {}): Promise<Connection> {
  const { device = "auto", python = pythonPath(), memory, deadline = 120 } = options;
  // PyTorch respects the process's affinity and OMP_NUM_THREADS, but not a CPU quota.
  const threads = options.threads ?? (askedThreads() === undefined ? coresOfQuota() : undefined);
  const room = new ExecutorRoom(options);
  const folder = await makeTemporaryFolder("mixhead-torch-");
  let server: BridgeServer | undefined;
  let share: ControlShare | undefined;
  let worker: Worker | undefined;
  const close = async () => {
    room.gone(new UserError("the connection to the executor is closed"));
    withdraw(room.backend);
    await server?.close();
    await (worker && Promise.race([worker.exited, sleep(5000)]));
    await worker?.stop();
    await share?.giveBack();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    server = await BridgeServer.start({ open: async () => room });
    share = await shareControl(python);
    worker = await share.control.launch({
      module: "mixhead.executor",
      endpoint: server.endpoint,
      run: RUN,
      device,
      ...(memory !== undefined && { memory }),
      ...(threads !== undefined && { threads }),
      env: {},
      log: join(folder, "executor.log"),
    });
    void worker.exited.then(({ error, code }) => {
      const why = error || "the executor has ended";
      room.gone(code === 2 ? new UserError(why) : new RunError("worker-failed", why));
    });
    const name = await inTime(room.joined, deadline);
    offer(room.backend);
    return { backend: room.backend, device: name, pid: worker.pid, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function inTime<T>(promise: Promise<T>, seconds: number): Promise<T> {
  const timer = new AbortController();
  try {
    const late = sleep(seconds * 1000, undefined, { signal: timer.signal }).then(() => {
      throw new RunError("deadline", `the executor did not start within ${seconds} s`);
    });
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/** The backends of open connections, oldest first. */
const open: TorchBackend[] = [];

function offer(backend: TorchBackend): void {
  open.push(backend);
  if (open.length === 1) tf.registerBackend(RUN, first);
}

function first(): TorchBackend {
  const [backend] = open;
  if (backend === undefined) throw new UserError("backend torch needs a connection: `await connect()` first");
  return backend;
}

/** Removes a backend from tfjs, so that the next `tf.setBackend("torch")` uses the oldest that is still open. */
function withdraw(backend: TorchBackend): void {
  const at = open.indexOf(backend);
  if (at < 0) return;
  open.splice(at, 1);
  if (at > 0) return;
  tf.removeBackend(RUN);
  if (open.length > 0) tf.registerBackend(RUN, first);
}
