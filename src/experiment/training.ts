import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PythonControl, Worker, WorkerExit } from "../bridge/launch.ts";
import type { BridgeServer } from "../bridge/server.ts";
import { pluginMakesTargets } from "../config/methods.ts";
import { RunError, sentence, UserError } from "../errors.ts";
import type { Edge } from "../mixture/edge.ts";
import { deviceBytes, openEdge } from "../mixture/open-edge.ts";
import { type Chosen, choosePlacement, type Placement } from "../mixture/placement.ts";
import { dataDir } from "../setup/paths.ts";
import type { Answerer } from "./answerer.ts";
import { Arm, type ArmOutcome } from "./arm.ts";
import { type Checkpoint, clockAtCheckpoint } from "./checkpoint.ts";
import { forgetFailure, noteFailure } from "./failure.ts";
import type { MetricsHook } from "./hooks.ts";
import { explained, WorkerLost } from "./lost.ts";
import type { Origin } from "./manifest.ts";
import type { MetricsLine } from "./metrics-log.ts";
import { type Job, lastStep } from "./run-folder.ts";
import type { SessionLog } from "./sessions.ts";
import { type Trace, untraced } from "./trace.ts";

/** The worker's status where its settings, its data or its checkpoint are wrong. */
const BAD_INPUT = 2;
/** The same where the disk does not take its checkpoint. */
const DISK = 74;
/** For the end of a process that has nothing left to do, and for one that has done all and tidies up. */
const [PARTING_MS, LEAVING_MS] = [10_000, 30_000];

/** What happens during a run, for whoever watches. */
export interface RunEvents {
  note(text: string): void;
  started(job: Job, steps: number, total: number): void;
  progress(job: Job, steps: number, line: MetricsLine): void;
  ended(job: Job, outcome: ArmOutcome | Error): void;
}

export interface RunOptions {
  events: RunEvents;
  /** When it aborts, every training takes a checkpoint after the step under way and ends. */
  signal: AbortSignal;
  /** Hear of every line that is written to a training's metrics.jsonl. */
  hooks?: readonly MetricsHook[];
  /** Trainings at once; one for each GPU, or else for each core, where it is left out. */
  jobs?: number | undefined;
  /** Makes what answers a training's steps; the mixture of its configuration, where it is left out. */
  open?: (job: Job) => Promise<Answerer | null>;
  /** Notes what both sides of every training do, and when. */
  trace?: Trace | undefined;
}

/** A training that has not reached its last step, and where it goes on. */
export interface Pending {
  job: Job;
  checkpoint: Checkpoint | null;
  /** How much of its metrics.jsonl stays. */
  metricsBytes: number;
  origin: Origin;
}

/** What the trainings of a run share. */
export interface Surroundings extends RunOptions {
  arms: Map<string, Arm>;
  server: BridgeServer;
  python: PythonControl;
  /** Whether the workers have a GPU, unless they are told to do without. */
  cuda: boolean;
}

/** One training from its checkpoint to its end; the outcome is an Error where it failed. */
export async function trainOne(
  { job, checkpoint, metricsBytes, origin }: Pending,
  env: Record<string, string>,
  session: SessionLog,
  around: Surroundings,
): Promise<ArmOutcome | Error> {
  const { arms, server, python, events, signal, hooks = [], open = openMixture, trace } = around;
  let answerer: Answerer | null = null;
  let worker: Worker | null = null;
  try {
    await forgetFailure(job);
    const { placement } = placementIn(job, around);
    answerer = await open(job, placement);
    const arm = new Arm({
      job,
      answerer,
      dataDir: dataDir(),
      resumed: checkpoint,
      metricsBytes,
      origin,
      hooks,
      spans: trace?.spans(job) ?? untraced,
      events: {
        began: () => session.tick(),
        note: (text) => events.note(text),
        progress: (steps, line) => {
          if (line.knn !== undefined) session.tick();
          events.progress(job, steps, line);
        },
      },
    });
    await arm.prepare();
    arms.set(job.label, arm);
    const stop = () => arm.stop();
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    events.started(job, checkpoint?.clock.step ?? 0, lastStep(job));
    worker = await python.launch({
      endpoint: server.endpoint,
      run: job.label,
      mixture: "default",
      rank: 0,
      world: 1,
      deadline: job.config.bridge.deadline,
      device: job.config.device,
      ...(answerer?.device && deviceBytes(job.config.bridge)),
      env: { ...env, ...trace?.workerEnv(job) },
      log: join(job.folder, "worker.log"),
    });
    arm.launched();
    void worker.exited.then(({ error }) => arm.exited(error));
    const outcome = await arm.done.finally(() => signal.removeEventListener("abort", stop));
    await endOf(worker, LEAVING_MS);
    events.ended(job, outcome);
    return outcome;
  } catch (error) {
    const failure = await withLastCheckpoint(job, await reasonOf(error, worker));
    await noteFailure(job, sentence(failure)).catch(() => {}); // a full disk: the failure itself is what to tell
    events.ended(job, failure);
    return labelled(job.label, failure);
  } finally {
    answerer?.dispose();
    server.drop(job.label, "default", "");
  }
}

/** Where the mixture of a training is computed. What the caller answers with wants the embeddings here, unless it says. */
export function placementIn({ config }: Job, { cuda, open }: Pick<Surroundings, "cuda" | "open">): Chosen {
  if (open !== undefined && config.placement === "auto")
    return { placement: "host", why: "a loop of your own takes the embeddings" };
  return choosePlacement(config, cuda && config.device !== "cpu");
}

/** How a worker that has said goodbye, or has no connection any more, ends by itself in a moment; undefined where it was ended. */
async function endOf(worker: Worker, ms = PARTING_MS): Promise<WorkerExit | undefined> {
  const exit = await Promise.race([worker.exited, sleep(ms, undefined, { ref: false })]);
  if (exit === undefined) await worker.stop();
  return exit;
}

async function reasonOf(error: unknown, worker: Worker | null): Promise<Error> {
  const exit = worker ? await endOf(worker) : undefined;
  const failure = error instanceof Error ? error : new RunError("internal", String(error));
  if (exit?.code === BAD_INPUT) return new UserError(failure.message, { cause: failure });
  if (exit?.code === DISK) return new RunError("disk", failure.message, { cause: failure });
  return worker && failure instanceof WorkerLost ? explained(failure, worker, exit) : failure;
}

/** What a full disk has left to go on from. */
async function withLastCheckpoint({ folder }: Job, failure: Error): Promise<Error> {
  if (!(failure instanceof RunError) || failure.code !== "disk") return failure;
  const step = (await clockAtCheckpoint(join(folder, "checkpoints")).catch(() => undefined))?.step;
  const last = step === undefined ? "there is no checkpoint yet" : `its last checkpoint is of step ${step}`;
  return new RunError("disk", `${failure.message}; ${last}`, { cause: failure });
}

function labelled(label: string, failure: Error): Error {
  const said = `${label}: ${failure.message}`;
  if (failure instanceof UserError) return new UserError(said, { cause: failure });
  const code = failure instanceof RunError ? failure.code : "internal";
  return new RunError(code, said, { cause: failure });
}

async function openMixture({ config, values }: Job, placement: Placement): Promise<Edge | null> {
  if (config.prototypes === "joint") return null;
  const plugin =
    config.prototypes === "frozen" ? { ...config.plugin, kind: "frozen", options: undefined } : config.plugin;
  const { dim } = config.head;
  const targets = pluginMakesTargets(config) ? config.targets : null;
  return openEdge(placement, { plugin, targets }, { dim, seed: config.seed, values }, config.bridge);
}
