import { MultiBar, type SingleBar } from "cli-progress";
import { sentence } from "../errors.ts";
import type { ArmOutcome } from "../experiment/arm.ts";
import type { MetricsLine } from "../experiment/metrics-log.ts";
import type { Job } from "../experiment/run-folder.ts";
import type { RunEvents } from "../experiment/training.ts";

/** Where no terminal can be redrawn, a line per arm so often. */
const LINE_SECONDS = 30;

interface Shown {
  name: string;
  from: number;
  steps: number;
  total: number;
  started: number;
  printed: number;
  /** The newest loss, and the last evaluation with its step, as text. */
  loss: string;
  measured: string;
}

/** Shows a run on standard error while it goes: progress, time left, loss, k-NN, how many prototypes are distinct and used. */
export class LiveView implements RunEvents {
  private readonly shown = new Map<Job, Shown>();
  private readonly bars = new Map<Job, SingleBar>();
  private readonly multi: MultiBar | null;

  constructor(
    private readonly stream: NodeJS.WritableStream & { isTTY?: boolean } = process.stderr,
    private readonly lineSeconds = LINE_SECONDS,
  ) {
    this.multi = stream.isTTY
      ? new MultiBar({
          stream,
          clearOnComplete: false,
          hideCursor: true,
          fps: 4,
          format: "{name} {bar} {percentage}% {value}/{total}  {left} left  loss {loss}{measured}",
          barsize: 18,
        })
      : null;
  }

  note(text: string): void {
    if (this.multi === null) this.stream.write(`${text}\n`);
    else this.multi.log(`${text}\n`);
  }

  started(job: Job, steps: number, total: number): void {
    const now = performance.now();
    const view: Shown = {
      name: job.label.padEnd(10),
      from: steps,
      steps,
      total,
      started: now,
      printed: now,
      loss: "-",
      measured: "",
    };
    this.shown.set(job, view);
    const bar = this.multi?.create(total, steps, { ...view, left: "-" });
    if (bar !== undefined) this.bars.set(job, bar);
  }

  progress(job: Job, steps: number, line: MetricsLine): void {
    const view = this.shown.get(job);
    if (view === undefined) return;
    view.steps = steps;
    if (line.loss !== undefined && line.loss !== null) view.loss = line.loss.toFixed(3);
    if (line.knn !== undefined) view.measured = measuredAt(line);
    const bar = this.bars.get(job);
    if (bar !== undefined) {
      bar.update(steps, { ...view, left: timeLeft(view) });
      return;
    }
    const now = performance.now();
    if (line.knn === undefined && now - view.printed < this.lineSeconds * 1000) return;
    view.printed = now;
    this.note(
      `${view.name} step ${steps}/${view.total}, ${timeLeft(view)} left: loss ${view.loss}${view.measured}`,
    );
  }

  ended(job: Job, outcome: ArmOutcome | Error): void {
    if (outcome instanceof Error) this.note(`${job.label} failed: ${sentence(outcome)}`);
  }

  close(): void {
    this.multi?.stop();
  }
}

function measuredAt({ step, knn = 0, distinctUsed, unique, used = 0 }: MetricsLine): string {
  const [both, distinct] = [distinctUsed, unique].map((shares) => (shares?.["0.5"] ?? 0).toFixed(2));
  return `; at step ${step}: k-NN ${percent(knn)}, distinctUsed .5 ${both}, unique ${distinct}, used ${used.toFixed(2)}`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}

/** By the rate since this session began. */
function timeLeft({ from, steps, total, started }: Shown): string {
  if (steps <= from) return "-";
  const seconds = ((performance.now() - started) / 1000 / (steps - from)) * (total - steps);
  const minutes = Math.floor(seconds / 60);
  return minutes > 0
    ? `${minutes}m${String(Math.round(seconds % 60)).padStart(2, "0")}s`
    : `${Math.round(seconds)}s`;
}
