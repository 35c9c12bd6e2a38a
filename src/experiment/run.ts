import { availableParallelism } from "node:os";
import { join } from "node:path";
import { openBackend } from "../backend/backend.ts";
import { RejectError } from "../bridge/errors.ts";
import { PythonControl, type Worker, type WorkerExit } from "../bridge/launch.ts";
import { BridgeServer } from "../bridge/server.ts";
import { takesTargets } from "../config/methods.ts";
import type { Config } from "../config/schema.ts";
import { RunError, sentence, UserError } from "../errors.ts";
import { dataDir } from "../setup/paths.ts";
import { pythonPath } from "../setup/python.ts";
import { type Answerer, Arm, type ArmOutcome } from "./arm.ts";
import { type Checkpoint, latestCheckpoint } from "./checkpoint.ts";
import { forgetFailure, noteFailure } from "./failure.ts";
import type { MetricsHook } from "./hooks.ts";
import { lockRun } from "./lock.ts";
import type { MetricsLine } from "./metrics-log.ts";
import { Mixture } from "./mixture.ts";
import type { Job, Run } from "./run-folder.ts";
import { readSessions, SessionLog } from "./sessions.ts";
import { missingValues } from "./values.ts";

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
  /** Makes what answers a training's steps; the mixture of its configuration, where it is left out. */
  open?: (job: Job) => Promise<Answerer | null>;
}

interface Pending {
  job: Job;
  checkpoint: Checkpoint | null;
}

/**
 * Trains what is still to be trained of a run: each job's worker in Python, its mixture here, side by
 * side where there are cores or GPUs. One that fails leaves its sentence in its folder and does not
 * stop the others.
 *
 * @throws RunError "interrupted" where `signal` aborted; the first failure where every training failed.
 */
export async function carryOutRun(run: Run, options: RunOptions): Promise<void> {
  await openBackend(
    agreed(run, "backend", (config) => config.backend),
    (line) => options.events.note(line),
  );
  const pending = await whatIsLeft(run);
  if (pending.length === 0) {
    options.events.note(`runs/${run.name} is complete with this configuration: nothing is trained again`);
    return;
  }
  checkValues(run, pending);
  const free = await lockRun(run.folder);
  try {
    const arms = new Map<string, Arm>();
    const server = await BridgeServer.start({
      endpoint: agreed(run, "bridge.endpoint", (config) => config.bridge.endpoint),
      deadline: agreed(run, "bridge.deadline", (config) => config.bridge.deadline),
      open: async ({ run: label }) => {
        const arm = arms.get(label);
        if (arm === undefined) throw new RejectError("unknown", `no training here is called ${label}`);
        return arm;
      },
    });
    try {
      const python = await PythonControl.start({ python: pythonPath() });
      try {
        await trainAll(run, pending, { ...options, arms, server, python });
      } finally {
        await python.close();
      }
    } finally {
      await server.close();
    }
  } finally {
    await free();
  }
}

interface Surroundings extends RunOptions {
  arms: Map<string, Arm>;
  server: BridgeServer;
  python: PythonControl;
}

async function trainAll(run: Run, pending: Pending[], around: Surroundings): Promise<void> {
  const { python, signal } = around;
  const found = await python.preflight();
  const places = placesFor(run, found.cuda ? found.devices.length - 1 : 0).slice(0, pending.length);
  const [earlier] = await readSessions(run.folder);
  const threads = earlier?.threads ?? Math.max(1, Math.floor(availableParallelism() / places.length));
  const session = await SessionLog.begin(run.folder, { threads, versions: found.versions });
  const outcomes = await inTurns(pending, places, signal, (item, place) =>
    trainOne(item, { OMP_NUM_THREADS: String(threads), ...place }, session, around),
  );
  session.tick();
  const failures = outcomes.filter((outcome) => outcome instanceof Error);
  const stopped = outcomes.some((outcome) => !(outcome instanceof Error) && !outcome.complete);
  if (stopped || outcomes.length < pending.length) {
    throw new RunError("interrupted", `stopped at a checkpoint; go on with: npx mixhead resume ${run.name}`);
  }
  if (failures[0] !== undefined && failures.length === run.jobs.length) throw failures[0];
}

/** One training from its checkpoint to its end; the outcome is an Error where it failed. */
async function trainOne(
  { job, checkpoint }: Pending,
  env: Record<string, string>,
  session: SessionLog,
  around: Surroundings,
): Promise<ArmOutcome | Error> {
  const { arms, server, python, events, signal, hooks = [], open = openMixture } = around;
  let answerer: Answerer | null = null;
  let worker: Worker | null = null;
  try {
    await forgetFailure(job);
    answerer = await open(job);
    const arm = new Arm({
      job,
      answerer,
      dataDir: dataDir(),
      resumed: checkpoint,
      hooks,
      events: {
        began: () => session.tick(),
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
      env,
      log: join(job.folder, "worker.log"),
    });
    void worker.exited.then(({ error }) =>
      arm.fail(new RunError("worker-failed", error || "its worker ended before its last step")),
    );
    const outcome = await arm.done.finally(() => signal.removeEventListener("abort", stop));
    await worker.exited;
    events.ended(job, outcome);
    return outcome;
  } catch (error) {
    const exit = await worker?.stop();
    const failure = reasonOf(error, exit);
    await noteFailure(job, sentence(failure));
    events.ended(job, failure);
    return labelled(job.label, failure);
  } finally {
    answerer?.dispose();
    server.drop(job.label, "default", "");
  }
}

/** A worker that is lost has ended, mostly: how it did says more than that it is not there. */
function reasonOf(error: unknown, exit: WorkerExit | undefined): Error {
  const failure = error instanceof Error ? error : new RunError("internal", String(error));
  const lost = failure instanceof RunError && failure.code === "peer-lost";
  if (!lost || exit === undefined || exit.error === "" || exit.signal === "SIGTERM") return failure;
  return new RunError("worker-failed", exit.error, { cause: failure });
}

function labelled(label: string, failure: Error): Error {
  const said = `${label}: ${failure.message}`;
  if (failure instanceof UserError) return new UserError(said, { cause: failure });
  const code = failure instanceof RunError ? failure.code : "internal";
  return new RunError(code, said, { cause: failure });
}

async function openMixture({ config, values }: Job): Promise<Mixture | null> {
  if (config.prototypes === "joint") return null;
  const plugin = config.prototypes === "frozen" ? { ...config.plugin, kind: "frozen" } : config.plugin;
  const { dim } = config.head;
  const targets = takesTargets(config) ? config.targets : null;
  return Mixture.open({ plugin, targets }, { dim, seed: config.seed, values });
}

/** Where trainings can go on at once: what each adds to its worker's environment. A GPU each, or else a core. */
function placesFor(run: Run, gpus: number): Record<string, string>[] {
  if (gpus === 0 || run.jobs.every(({ config }) => config.device === "cpu")) {
    return Array.from({ length: availableParallelism() }, () => ({}));
  }
  const visible = process.env.CUDA_VISIBLE_DEVICES?.split(",");
  return Array.from({ length: gpus }, (_, gpu) => ({ CUDA_VISIBLE_DEVICES: visible?.[gpu] ?? String(gpu) }));
}

function checkValues({ name }: Run, pending: Pending[]): void {
  for (const { job } of pending) {
    const [missing] = missingValues(job.config, job.values);
    if (missing === undefined) continue;
    throw new UserError(
      `runs/${name} goes on only from the experiment file that began it, since ${missing} of ${job.arm} is a function: run that file again`,
    );
  }
}

async function whatIsLeft(run: Run): Promise<Pending[]> {
  const pending: Pending[] = [];
  for (const job of run.jobs) {
    const checkpoint = await latestCheckpoint(join(job.folder, "checkpoints"));
    if ((checkpoint?.clock.step ?? 0) < lastStep(job)) pending.push({ job, checkpoint });
  }
  return pending;
}

function lastStep({ config }: Job): number {
  return config.train.stop ?? config.train.steps;
}

/** A setting that one process can have only once. */
function agreed<T>(run: Run, name: string, of: (config: Config) => T): T {
  const [first, ...others] = run.jobs.map((job) => of(job.config));
  if (first === undefined) throw new RunError("internal", "a run without trainings");
  if (others.some((value) => value !== first)) {
    throw new UserError(
      `${name} differs between the arms; side by side they share one: set it for all, as ${name}=${first}`,
    );
  }
  return first;
}

/** Works on `items` in order, one at each place at a time; what was not begun when `signal` aborts is left. */
async function inTurns<T, P, R>(
  items: readonly T[],
  places: readonly P[],
  signal: AbortSignal,
  work: (item: T, place: P) => Promise<R>,
): Promise<R[]> {
  const waiting = [...items];
  const results: R[] = [];
  const workAt = async (place: P) => {
    for (let item = waiting.shift(); item !== undefined && !signal.aborted; item = waiting.shift()) {
      results.push(await work(item, place));
    }
  };
  await Promise.all(places.map(workAt));
  return results;
}
