import { openBackend } from "../backend/backend.ts";
import { allowedCores, askedThreads } from "../backend/cores.ts";
import { RejectError } from "../bridge/errors.ts";
import type { Preflight } from "../bridge/launch.ts";
import { BridgeServer } from "../bridge/server.ts";
import { shareControl } from "../bridge/shared-control.ts";
import type { Config } from "../config/schema.ts";
import { RunError, UserError } from "../errors.ts";
import { placementLine } from "../mixture/placement.ts";
import { pythonPath } from "../setup/python.ts";
import type { Arm } from "./arm.ts";
import { checkFree, lockRun } from "./lock.ts";
import { type Mending, metricsToMend } from "./mend-metrics.ts";
import { wayOn } from "./remarks.ts";
import { lastStep, type Run } from "./run-folder.ts";
import { checkpointOf, originOf } from "./same-run.ts";
import { readSessions, SessionLog } from "./sessions.ts";
import { type Pending, placementIn, type RunOptions, type Surroundings, trainOne } from "./training.ts";
import { checkValues } from "./values.ts";

/**
 * Trains what is still to be trained of a run: each job's worker in Python, its mixture here, side by
 * side where there are cores or GPUs. One that fails leaves its sentence in its folder and does not
 * stop the others.
 *
 * @throws RunError "interrupted" where `signal` aborted; the first failure where every training failed.
 */
export async function carryOutRun(run: Run, options: RunOptions): Promise<void> {
  const said: string[] = [];
  await openBackend(
    agreed(run, "backend", (config) => config.backend),
    (line) => said.push(line),
  );
  const { pending, mendings, notes } = await whatIsLeft(run);
  for (const line of notes) options.events.note(line);
  if (pending.length === 0 && mendings.length === 0) {
    options.events.note(`runs/${run.name} is complete with this configuration: nothing is trained again`);
    return;
  }
  checkValues(
    run.name,
    pending.map(({ job }) => job),
  );
  const free = await lockRun(run.folder);
  try {
    for (const { mend } of mendings) await mend();
    if (pending.length === 0) return;
    const arms = new Map<string, Arm>();
    const server = await BridgeServer.start({
      endpoint: agreed(run, "bridge.endpoint", (config) => config.bridge.endpoint),
      deadline: agreed(run, "bridge.deadline", (config) => config.bridge.deadline),
      commandDeadline: agreed(run, "bridge.commandDeadline", (config) => config.bridge.commandDeadline),
      open: async ({ run: label }) => {
        const arm = arms.get(label);
        if (arm === undefined) throw new RejectError("unknown", `no training here is called ${label}`);
        return arm;
      },
    });
    try {
      const { control: python, giveBack } = await shareControl(pythonPath());
      try {
        await trainAll(run, pending, { ...options, arms, server, python }, said);
      } finally {
        await giveBack();
      }
    } finally {
      await server.close();
    }
  } finally {
    await free();
  }
}

/** What this process's Python has: asking it takes as long as loading torch. */
let found: Preflight | undefined;

/** `said`: of the backend that computes here. */
async function trainAll(
  run: Run,
  pending: Pending[],
  options: Omit<Surroundings, "cuda">,
  said: readonly string[],
): Promise<void> {
  const { python, signal, jobs } = options;
  found ??= await python.preflight();
  const { cuda, devices, versions } = found;
  const around = { ...options, cuda };
  sayPlacements(pending, around, said);
  const places = placesFor(run, cuda ? devices.length - 1 : 0, jobs).slice(0, pending.length);
  const [earlier] = await readSessions(run.folder);
  const threads = earlier?.threads ?? threadsFor(places.length);
  const session = await SessionLog.begin(run.folder, { threads, versions });
  const outcomes = await inTurns(pending, places, signal, (item, place) =>
    trainOne(item, { ...openMp(threads), ...place }, session, around),
  );
  session.tick();
  const failures = outcomes.filter((outcome) => outcome instanceof Error);
  const stopped = outcomes.some((outcome) => !(outcome instanceof Error) && !outcome.complete);
  if (stopped || outcomes.length < pending.length) {
    throw new RunError("interrupted", `stopped at a checkpoint; go on with: ${wayOn(run)}`);
  }
  if (failures[0] !== undefined && failures.length === run.jobs.length) throw failures[0];
}

/** One line for each placement that there is, and the backend's where it has something to compute; joint arms have no mixture. */
function sayPlacements(pending: Pending[], around: Surroundings, said: readonly string[]): void {
  const mixtures = pending.filter(({ job }) => job.config.prototypes !== "joint");
  const chosen = mixtures.map(({ job }) => placementIn(job, around));
  const here = chosen.some(({ placement }) => placement === "host");
  for (const line of new Set([...(here ? said : []), ...chosen.map(placementLine)])) around.events.note(line);
}

/** Threads of each worker: what OMP_NUM_THREADS says, or its share of the cores. */
function threadsFor(workers: number): number {
  return askedThreads() ?? Math.max(1, Math.floor(allowedCores() / workers));
}

/** Waiting threads sleep: where another program wants the cores, spinning ones made a run 2 to 3 times as long. */
function openMp(threads: number): Record<string, string> {
  const policy = process.env.OMP_WAIT_POLICY ?? "PASSIVE";
  return { OMP_NUM_THREADS: String(threads), OMP_WAIT_POLICY: policy };
}

/**
 * Where trainings can go on at once: what each adds to its worker's environment. A GPU each, or else a
 * core; `jobs` of them where that is said, which share the GPUs in turn.
 */
function placesFor(run: Run, gpus: number, jobs?: number): Record<string, string>[] {
  if (gpus === 0 || run.jobs.every(({ config }) => config.device === "cpu")) {
    return Array.from({ length: jobs ?? allowedCores() }, () => ({}));
  }
  const visible = process.env.CUDA_VISIBLE_DEVICES?.split(",") ?? [];
  return Array.from({ length: jobs ?? gpus }, (_, index) => {
    const gpu = index % gpus;
    return { CUDA_VISIBLE_DEVICES: visible[gpu] ?? String(gpu) };
  });
}

/** The trainings that have not reached their end, what of a run's files has to be mended, and what one should know. */
interface WhatIsLeft {
  pending: Pending[];
  mendings: Mending[];
  notes: string[];
}

/** Reads what there is, and changes nothing. @throws UserError where a training cannot go on from it. */
async function whatIsLeft(run: Run): Promise<WhatIsLeft> {
  await checkFree(run.folder); // what is being written is not whole
  const left: WhatIsLeft = { pending: [], mendings: [], notes: [] };
  for (const job of run.jobs) {
    const { checkpoint, notes } = await checkpointOf(run, job);
    left.notes.push(...notes);
    const mending = checkpoint && (await metricsToMend(job, checkpoint));
    if (mending !== null) {
      left.mendings.push(mending);
      left.notes.push(mending.note);
    }
    if ((checkpoint?.clock.step ?? 0) >= lastStep(job)) continue;
    const metricsBytes = mending?.metricsBytes ?? checkpoint?.clock.metricsBytes ?? 0;
    left.pending.push({ job, checkpoint, metricsBytes, origin: await originOf(run, job) });
  }
  return left;
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
