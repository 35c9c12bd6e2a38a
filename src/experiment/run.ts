import { availableParallelism } from "node:os";
import { join } from "node:path";
import { openBackend } from "../backend/backend.ts";
import { RejectError } from "../bridge/errors.ts";
import { PythonControl } from "../bridge/launch.ts";
import { BridgeServer } from "../bridge/server.ts";
import type { Config } from "../config/schema.ts";
import { RunError, UserError } from "../errors.ts";
import { dataDir } from "../setup/paths.ts";
import { pythonPath } from "../setup/python.ts";
import { Arm, type ArmOutcome } from "./arm.ts";
import { type Checkpoint, latestCheckpoint } from "./checkpoint.ts";
import type { MetricsLine } from "./metrics-log.ts";
import { Mixture } from "./mixture.ts";
import type { Job, Run } from "./run-folder.ts";
import { noteSession, readSessions } from "./sessions.ts";

/** What happens during a run, for whoever watches. */
export interface RunEvents {
  note(text: string): void;
  started(job: Job, steps: number, total: number): void;
  progress(job: Job, steps: number, line: MetricsLine): void;
  ended(job: Job, outcome: ArmOutcome | Error): void;
}

interface Pending {
  job: Job;
  checkpoint: Checkpoint | null;
}

/**
 * Trains what is still to be trained of a run: each job's worker in Python, its mixture here, as
 * many side by side as there are cores (one where there is a GPU). When `signal` aborts, every
 * training takes a checkpoint after the step under way and ends.
 *
 * @throws RunError when all have ended: the first failure, or "interrupted".
 */
export async function carryOutRun(run: Run, events: RunEvents, signal: AbortSignal): Promise<void> {
  const pending = await whatIsLeft(run);
  if (pending.length === 0) return;
  await openBackend(
    agreed(run, "backend", (config) => config.backend),
    (line) => events.note(line),
  );
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
      const found = await python.preflight();
      const cuda = run.jobs.some(({ config }) => config.device !== "cpu") && found.cuda;
      const [earlier] = await readSessions(run.folder);
      const sideBySide = cuda ? 1 : Math.min(pending.length, availableParallelism());
      const threads = earlier?.threads ?? Math.max(1, Math.floor(availableParallelism() / sideBySide));
      const started = new Date();
      const train = (item: Pending) => trainOne(item, { arms, server, python, threads, events, signal });
      const outcomes = await inTurns(pending, sideBySide, train, signal);
      await noteSession(run.folder, {
        started: started.toISOString(),
        seconds: (Date.now() - started.getTime()) / 1000,
        threads,
        versions: found.versions,
      });
      raise(run, outcomes);
    } finally {
      await python.close();
    }
  } finally {
    await server.close();
  }
}

interface Surroundings {
  arms: Map<string, Arm>;
  server: BridgeServer;
  python: PythonControl;
  threads: number;
  events: RunEvents;
  signal: AbortSignal;
}

/** One training from its checkpoint to its end; the outcome is an Error where it failed. */
async function trainOne({ job, checkpoint }: Pending, around: Surroundings): Promise<ArmOutcome | Error> {
  const { arms, server, python, threads, events, signal } = around;
  let mixture: Mixture | null = null;
  try {
    mixture = await openMixture(job.config);
    const arm = new Arm(job, mixture, dataDir(), checkpoint, {
      progress: (steps, line) => events.progress(job, steps, line),
    });
    await arm.prepare();
    arms.set(job.label, arm);
    const stop = () => arm.stop();
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    events.started(job, checkpoint?.clock.step ?? 0, lastStep(job));
    const worker = await python.launch({
      endpoint: server.endpoint,
      run: job.label,
      mixture: "default",
      rank: 0,
      world: 1,
      deadline: job.config.bridge.deadline,
      env: { OMP_NUM_THREADS: String(threads) },
      log: join(job.folder, "worker.log"),
    });
    worker.exited.then(({ error }) => {
      arm.fail(
        new RunError("worker-failed", `${job.label}: ${error || "its worker ended before its last step"}`),
      );
    });
    const outcome = await arm.done.finally(() => signal.removeEventListener("abort", stop));
    await worker.exited;
    events.ended(job, outcome);
    return outcome;
  } catch (error) {
    const failure = error instanceof Error ? error : new RunError("internal", String(error));
    events.ended(job, failure);
    return failure;
  } finally {
    mixture?.dispose();
    server.drop(job.label, "default", "");
  }
}

async function openMixture(config: Config): Promise<Mixture | null> {
  if (config.prototypes === "joint") return null;
  const plugin = config.prototypes === "frozen" ? { ...config.plugin, kind: "frozen" } : config.plugin;
  return Mixture.open({ plugin, targets: config.targets }, { dim: config.head.dim, seed: config.seed });
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

/** Works on `items` in order, so many at once; what was not begun when `signal` aborts is left. */
async function inTurns<T, R>(
  items: T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
  signal: AbortSignal,
): Promise<R[]> {
  const waiting = [...items];
  const results: R[] = [];
  const hand = async () => {
    for (let item = waiting.shift(); item !== undefined && !signal.aborted; item = waiting.shift()) {
      results.push(await work(item));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, hand));
  return results;
}

function raise(run: Run, outcomes: (ArmOutcome | Error)[]): void {
  const failure = outcomes.find((outcome) => outcome instanceof Error);
  if (failure !== undefined) throw failure;
  if (outcomes.some((outcome) => !(outcome instanceof Error) && !outcome.complete)) {
    throw new RunError("interrupted", `stopped at a checkpoint; go on with: npx mixhead resume ${run.name}`);
  }
}
