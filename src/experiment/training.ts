import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PythonControl, Worker, WorkerExit } from "../bridge/launch.ts";
import type { Security } from "../bridge/security.ts";
import type { BridgeServer } from "../bridge/server.ts";
import { pluginMakesTargets } from "../config/methods.ts";
import { RunError, sentence, UserError } from "../errors.ts";
import { dataDir } from "../files/paths.ts";
import type { Edge } from "../mixture/edge.ts";
import { deviceBytes, openEdge } from "../mixture/open-edge.ts";
import { type Chosen, choosePlacement, type Placement } from "../mixture/placement.ts";
import type { Answerer } from "./answerer.ts";
import { Arm, type ArmOutcome } from "./arm.ts";
import type { Arms } from "./arms.ts";
import { type Checkpoint, clockAtCheckpoint, latestCheckpoint } from "./checkpoint.ts";
import { forgetFailure, noteFailure } from "./failure.ts";
import type { MetricsHook } from "./hooks.ts";
import { explained, WorkerLost } from "./lost.ts";
import type { Origin } from "./manifest.ts";
import type { MetricsLine } from "./metrics-log.ts";
import { type Job, lastStep } from "./run-folder.ts";
import type { SessionLog } from "./sessions.ts";
import { type Trace, untraced } from "./trace.ts";

/** The worker's exit status for wrong settings, data or checkpoint. */
const BAD_INPUT = 2;
/** The same if it cannot write its checkpoint. */
const DISK = 74;
/** Milliseconds for a worker to exit: after its connection has ended, and after a complete training. */
const [PARTING_MS, LEAVING_MS] = [10_000, 30_000];

/** The events of a run. */
export interface RunEvents {
  note(text: string): void;
  started(job: Job, steps: number, total: number): void;
  progress(job: Job, steps: number, line: MetricsLine): void;
  ended(job: Job, outcome: ArmOutcome | Error): void;
}

export interface RunOptions {
  events: RunEvents;
  /** When it aborts, every training finishes its step, takes a checkpoint and ends. */
  signal: AbortSignal;
  /** Called for every line that is written to a training's metrics.jsonl. */
  hooks?: readonly MetricsHook[];
  /** Trainings at once; by default one for each GPU, or else for each core. */
  jobs?: number | undefined;
  /** Opens the answerer of a training's steps; by default the mixture of its configuration. */
  open?: (job: Job) => Promise<Answerer | null>;
  /** Records what both sides of every training do, and when. */
  trace?: Trace | undefined;
  /** Ranks of each training, started by torchrun; with `listen`, the number to wait for. Default: one, without torchrun. */
  ranks?: number | undefined;
  /** How often torchrun restarts the ranks of a training after a loss. */
  maxRestarts?: number | undefined;
  /** Where to wait for ranks that others start on other hosts; none is started here. */
  listen?: Listen | undefined;
}

interface Listen {
  endpoint: string;
  security?: Security | undefined;
}

/** An unfinished training and the checkpoint that it resumes from. */
export interface Pending {
  job: Job;
  checkpoint: Checkpoint | null;
  /** The length in bytes to which its metrics.jsonl is cut. */
  metricsBytes: number;
  origin: Origin;
}

/** Shared by the trainings of a run. */
export interface Surroundings extends RunOptions {
  arms: Arms;
  server: BridgeServer;
  /** Null if no worker is started here. */
  python: PythonControl | null;
  /** The name by which ranks join a training. */
  nameOf: (job: Job) => string;
  /** Whether the workers' Python has a GPU. */
  cuda: boolean;
}

/**
 * Trains from the checkpoint to the end. Returns an Error if the training failed. If its ranks are lost and may be
 * restarted, it continues from the last checkpoint when they join.
 */
export async function trainOne(
  pending: Pending,
  env: Record<string, string>,
  session: SessionLog,
  around: Surroundings,
): Promise<ArmOutcome | Error> {
  const { job } = pending;
  const { arms, server, python, events, signal } = around;
  const name = around.nameOf(job);
  let answerer: Answerer | null = null;
  let worker: Worker | null = null;
  try {
    arms.expect(name);
    await forgetFailure(job);
    let from = pending;
    let outcome: ArmOutcome | undefined;
    for (let losses = 0; outcome === undefined; losses++) {
      answerer = await openAnswerer(job, around);
      const arm = await openArm(from, answerer, session, around);
      const stop = () => arm.stop(python === null);
      try {
        arms.ready(name, arm);
        signal.addEventListener("abort", stop);
        if (signal.aborted) stop();
        events.started(job, from.checkpoint?.clock.step ?? 0, lastStep(job));
        if (python !== null) {
          worker ??= await launch(python, name, job, env, around);
          arm.launched();
          void worker.exited.then(({ error }) => arm.exited(error));
        }
        outcome = await arm.done;
      } catch (error) {
        if (!mayComeAgain(error, losses, around)) throw error;
        arms.expect(name);
        await server.drop(name, "default", sentence(error));
        answerer?.dispose();
        answerer = null;
        from = await lastOf(pending, events);
        const place = from.checkpoint ? `the checkpoint of step ${from.checkpoint.clock.step}` : "its start";
        events.note(`${job.label}: ${sentence(error)}; it resumes from ${place} when its ranks are back`);
      } finally {
        signal.removeEventListener("abort", stop);
      }
    }
    if (worker !== null) await endOf(worker, LEAVING_MS);
    events.ended(job, outcome);
    return outcome;
  } catch (error) {
    const failure = await withLastCheckpoint(job, await reasonOf(error, worker));
    await noteFailure(job, sentence(failure)).catch(() => {}); // a full disk: report the failure itself
    events.ended(job, failure);
    return labelled(job.label, failure);
  } finally {
    answerer?.dispose();
    arms.end(name);
    void server.drop(name, "default", "");
  }
}

/** The same training from its last checkpoint. */
async function lastOf(pending: Pending, events: RunEvents): Promise<Pending> {
  const { job, origin } = pending;
  const { checkpoint, notes } = await latestCheckpoint(join(job.folder, "checkpoints"), origin);
  for (const note of notes) events.note(note);
  return { ...pending, checkpoint, metricsBytes: checkpoint?.clock.metricsBytes ?? 0 };
}

function openAnswerer(job: Job, around: Surroundings): Promise<Answerer | null> {
  const { open = openMixture } = around;
  return open(job, placementIn(job, around).placement);
}

/** Opens the room of a training, restored from its checkpoint. */
async function openArm(
  { job, checkpoint, metricsBytes, origin }: Pending,
  answerer: Answerer | null,
  session: SessionLog,
  around: Surroundings,
): Promise<Arm> {
  const { server, events, hooks = [], trace } = around;
  const arm = new Arm({
    job,
    answerer,
    dataDir: dataDir(),
    resumed: checkpoint,
    metricsBytes,
    origin,
    hooks,
    spans: trace?.spans(job) ?? untraced,
    ranks: around.ranks,
    idle: () => server.idle(around.nameOf(job), "default"),
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
  return arm;
}

function launch(
  python: PythonControl,
  name: string,
  job: Job,
  env: Record<string, string>,
  around: Surroundings,
): Promise<Worker> {
  const { ranks, maxRestarts = 0 } = around;
  return python.launch({
    endpoint: around.server.endpoint,
    run: name,
    mixture: "default",
    deadline: job.config.bridge.deadline,
    device: job.config.device,
    ...(placementIn(job, around).placement === "device" && deviceBytes(job.config.bridge)),
    ...(ranks === undefined ? { rank: 0, world: 1 } : { torchrun: { ranks, restarts: maxRestarts } }),
    env: { ...env, ...around.trace?.workerEnv(job) },
    log: join(job.folder, "worker.log"),
  });
}

/** Whether lost ranks may be restarted: by torchrun, as often as it was told, or by whoever started them elsewhere. */
function mayComeAgain(error: unknown, losses: number, { listen, maxRestarts = 0 }: Surroundings): boolean {
  const lost = error instanceof RunError && ["peer-lost", "deadline"].includes(error.code);
  return lost && (listen !== undefined || losses < maxRestarts);
}

/** Where the mixture of a training is computed. A caller's own loop needs the embeddings in Node, unless configured. */
export function placementIn(
  { config }: Job,
  { cuda, open, listen }: Pick<Surroundings, "cuda" | "open" | "listen">,
): Chosen {
  if (listen !== undefined && config.placement === "auto")
    return { placement: "device", why: "the embeddings are on other hosts" };
  if (open !== undefined && config.placement === "auto")
    return { placement: "host", why: "a loop of your own takes the embeddings" };
  return choosePlacement(config, cuda && config.device !== "cpu");
}

/** Waits for a worker without a connection to exit; stops it after `ms`, and then returns undefined. */
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

/** Adds the last checkpoint to the error of a full disk. */
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
