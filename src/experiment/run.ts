import { openBackend } from "../backend/backend.ts";
import { allowedCores, askedThreads } from "../backend/cores.ts";
import type { Preflight, PythonControl } from "../bridge/launch.ts";
import { BridgeServer } from "../bridge/server.ts";
import { shareControl } from "../bridge/shared-control.ts";
import type { Config } from "../config/schema.ts";
import { RunError, UserError } from "../errors.ts";
import { pythonPath } from "../files/python.ts";
import { placementLine } from "../mixture/placement.ts";
import { Arms } from "./arms.ts";
import { checkFree, lockRun } from "./lock.ts";
import { type Mending, metricsToMend } from "./mend-metrics.ts";
import { wayOn } from "./remarks.ts";
import { type Job, lastStep, type Run } from "./run-folder.ts";
import { checkpointOf, originOf } from "./same-run.ts";
import { readSessions, SessionLog } from "./sessions.ts";
import { type Pending, placementIn, type RunOptions, type Surroundings, trainOne } from "./training.ts";
import { checkValues } from "./values.ts";

/**
 * Finishes a run's trainings: each has its worker in Python and its mixture here. They run side by side if there are
 * enough cores or GPUs. One that fails writes its error to its folder and does not stop the others.
 *
 * @throws RunError "interrupted" if `signal` aborted; the first failure if every training failed.
 */
export async function trainRun(run: Run, options: RunOptions): Promise<void> {
  checkRanks(run, options);
  const said: string[] = [];
  await openBackend(
    agreed(run, "backend", (config) => config.backend),
    (line) => said.push(line),
  );
  const { pending, mendings, notes } = await planOf(run);
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
    const { listen } = options;
    const arms = new Arms();
    const nameOf = ({ label }: Job) => (listen === undefined ? label : run.name);
    for (const { job } of pending) arms.expect(nameOf(job));
    const server = await BridgeServer.start({
      endpoint: listen?.endpoint ?? agreed(run, "bridge.endpoint", (config) => config.bridge.endpoint),
      ...(listen?.security && { security: listen.security }),
      deadline: agreed(run, "bridge.deadline", (config) => config.bridge.deadline),
      commandDeadline: agreed(run, "bridge.commandDeadline", (config) => config.bridge.commandDeadline),
      open: ({ run: name }) => arms.of(name),
    });
    try {
      const around = { ...options, arms, server, nameOf };
      if (listen !== undefined) {
        options.events.note(`waits for the ranks of run ${run.name} at ${server.endpoint}`);
        await trainAll(run, pending, { ...around, python: null }, said);
        return;
      }
      const { control: python, giveBack } = await shareControl(pythonPath());
      try {
        await trainAll(run, pending, { ...around, python }, said);
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

/** What this process's Python has, by whether GPUs were looked for. Cached, since that takes as long as loading torch. */
const found = new Map<boolean, Preflight>();

/** `said`: the backend's lines. */
async function trainAll(
  run: Run,
  pending: Pending[],
  options: Omit<Surroundings, "cuda">,
  said: readonly string[],
): Promise<void> {
  const { python, signal, jobs, ranks } = options;
  const { cuda, devices, versions } = python === null ? ELSEWHERE : await preflight(python, run);
  const around = { ...options, cuda };
  sayPlacements(pending, around, said);
  const gpus = cuda ? devices.length - 1 : 0;
  const alone = python !== null && ranks === undefined;
  if (python !== null && ranks !== undefined) checkGpus(ranks, gpus);
  // Several ranks use all GPUs and all cores: one training at a time.
  const places = (alone ? placesFor(run, gpus, jobs) : [{}]).slice(0, pending.length);
  const [earlier] = await readSessions(run.folder);
  const threads = earlier?.threads ?? threadsFor(places.length * (ranks ?? 1));
  const session = await SessionLog.begin(run.folder, { threads, versions });
  const outcomes = await inTurns(pending, places, signal, (item, place) =>
    trainOne(item, { ...openMp(threads), ...place }, session, around),
  );
  session.tick();
  const failures = outcomes.filter((outcome) => outcome instanceof Error);
  const stopped = outcomes.some((outcome) => !(outcome instanceof Error) && !outcome.complete);
  if (stopped || outcomes.length < pending.length) {
    throw new RunError("interrupted", `stopped at a checkpoint; continue with: ${wayOn(run)}`);
  }
  if (failures[0] !== undefined && failures.length === run.jobs.length) throw failures[0];
}

async function preflight(python: PythonControl, { jobs }: Run): Promise<Preflight> {
  const gpus = jobs.some(({ config }) => config.device !== "cpu");
  const known = found.get(gpus) ?? (await python.preflight({ gpus }));
  found.set(gpus, known);
  return known;
}

/** The preflight of ranks that others start: unknown. */
const ELSEWHERE: Pick<Preflight, "cuda" | "devices" | "versions"> = {
  cuda: false,
  devices: [],
  versions: {},
};

/** @throws UserError if ranks would have to share a GPU. */
function checkGpus(ranks: number, gpus: number): void {
  if (gpus === 0 || ranks <= gpus) return;
  throw new UserError(
    `--ranks is ${ranks}, but there ${gpus === 1 ? "is 1 GPU" : `are ${gpus} GPUs`}; allowed: 1 to ${gpus}, or any number with device=cpu`,
  );
}

/** @throws UserError if the ranks cannot share a training's batches evenly, or if one world would have several trainings. */
function checkRanks({ name, jobs }: Run, { ranks, listen }: RunOptions): void {
  if (listen !== undefined && jobs.length > 1) {
    throw new UserError(
      `runs/${name} has ${jobs.length} trainings, and ranks that connect train one: give each arm a run of its own, by mixhead train`,
    );
  }
  for (const { label, config } of jobs) {
    const { batch } = config.train;
    if (ranks === undefined || batch % ranks === 0) continue;
    const allowed = Array.from({ length: batch }, (_, index) => index + 1).filter((n) => batch % n === 0);
    throw new UserError(
      `${label}: train.batch is ${batch}, which ${ranks} ranks cannot share evenly; allowed for --ranks: ${allowed.join(", ")}`,
    );
  }
}

/** One line for each placement in use, and the backend's lines if it computes anything. Joint arms have no mixture. */
function sayPlacements(pending: Pending[], around: Surroundings, said: readonly string[]): void {
  const mixtures = pending.filter(({ job }) => job.config.prototypes !== "joint");
  const chosen = mixtures.map(({ job }) => placementIn(job, around));
  const here = chosen.some(({ placement }) => placement === "host");
  for (const line of new Set([...(here ? said : []), ...chosen.map(placementLine)])) around.events.note(line);
}

/** Threads of each worker: OMP_NUM_THREADS, or its share of the cores. */
function threadsFor(workers: number): number {
  return askedThreads() ?? Math.max(1, Math.floor(allowedCores() / workers));
}

/** Waiting threads sleep. Spinning ones made a run 2 to 3 times as long when another program used the cores. */
function openMp(threads: number): Record<string, string> {
  const policy = process.env.OMP_WAIT_POLICY ?? "PASSIVE";
  return { OMP_NUM_THREADS: String(threads), OMP_WAIT_POLICY: policy };
}

/**
 * The places at which trainings run at once, as additions to a worker's environment: one for each GPU, or else for each
 * core. `jobs` sets their number; they then share the GPUs in turn.
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

/** The unfinished trainings, the files to mend before they resume, and notes for the user. */
interface Plan {
  pending: Pending[];
  mendings: Mending[];
  notes: string[];
}

/** Reads the run's files and changes nothing. @throws UserError if a training cannot resume from them. */
async function planOf(run: Run): Promise<Plan> {
  await checkFree(run.folder); // files that are being written are not whole
  const left: Plan = { pending: [], mendings: [], notes: [] };
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

/** A setting that all trainings of one process share. */
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

/** Works on `items` in order, one at each place at a time. Items that have not begun when `signal` aborts are skipped. */
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
