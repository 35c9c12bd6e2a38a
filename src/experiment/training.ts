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
  /** Ranks of each training, started by torchrun; with `listen` how many have to come. One alone, where it is left out. */
  ranks?: number | undefined;
  /** How often torchrun starts the ranks of a training again where one is lost. */
  maxRestarts?: number | undefined;
  /** Where ranks are waited for that others start, on hosts of theirs; none is started here. */
  listen?: Listen | undefined;
}

interface Listen {
  endpoint: string;
  security?: Security | undefined;
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
  arms: Arms;
  server: BridgeServer;
  /** Null where no worker is started here. */
  python: PythonControl | null;
  /** What the ranks of a training say that it is called. */
  nameOf: (job: Job) => string;
  /** Whether the workers have a GPU, unless they are told to do without. */
  cuda: boolean;
}

/**
 * One training from its checkpoint to its end; the outcome is an Error where it failed. Where its ranks are lost
 * and may come again, it goes on from the last checkpoint with those that come.
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
    await noteFailure(job, sentence(failure)).catch(() => {}); // a full disk: the failure itself is what to tell
    events.ended(job, failure);
    return labelled(job.label, failure);
  } finally {
    answerer?.dispose();
    arms.end(name);
    void server.drop(name, "default", "");
  }
}

/** Where a training whose ranks were lost goes on. */
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

/** A training as its ranks see it, where its checkpoint was taken. */
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

/** Whether ranks that were lost are started again by somebody: torchrun, so often; or whoever has started them elsewhere. */
function mayComeAgain(error: unknown, losses: number, { listen, maxRestarts = 0 }: Surroundings): boolean {
  const lost = error instanceof RunError && ["peer-lost", "deadline"].includes(error.code);
  return lost && (listen !== undefined || losses < maxRestarts);
}

/** Where the mixture of a training is computed. What the caller answers with wants the embeddings here, unless it says. */
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
