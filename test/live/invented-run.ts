import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/schema.ts";
import { lockRun } from "../../src/experiment/lock.ts";
import type { MetricsLine } from "../../src/experiment/metrics-log.ts";
import { openRun, type Run } from "../../src/experiment/run-folder.ts";

/** A run whose measurements are invented here, in a folder of its own, which is the current one until `remove`. */
export class InventedRun {
  private constructor(
    private readonly before: string,
    private readonly home: string,
    public run: Run,
  ) {}

  static async create(arms: readonly string[], { seeds = [0], steps = 2000 } = {}): Promise<InventedRun> {
    const before = process.cwd();
    const home = await mkdtemp(join(tmpdir(), "mixhead-live-"));
    process.chdir(home);
    return new InventedRun(before, home, await openRun("demo", configured(arms, steps), seeds));
  }

  /** Begins anew under the same name, as `--force` does. */
  async replace(arms: readonly string[], steps: number): Promise<void> {
    this.run = await openRun("demo", configured(arms, steps), [0], true);
  }

  /** Somebody trains it from now on; the result ends that. */
  begin(): Promise<() => void> {
    return lockRun(this.run.folder);
  }

  async remove(): Promise<void> {
    process.chdir(this.before);
    await rm(this.home, { recursive: true });
  }

  metrics(job: number): string {
    return join(this.run.jobs[job]?.folder ?? "", "metrics.jsonl");
  }

  /** Appends what a training would write from step `from` (not included) to step `to`. */
  async train(job: number, from: number, to: number, more: Partial<MetricsLine> = {}): Promise<void> {
    const arm = this.run.jobs[job]?.arm ?? "";
    const lines: MetricsLine[] = from === 0 ? [evaluation(arm, 0)] : [];
    for (let step = from + 10; step <= to; step += 10) {
      lines.push({ ...training(arm, step), ...more });
      if (step % 250 === 0) lines.push(evaluation(arm, step));
    }
    await this.write(job, lines.map((line) => JSON.stringify(line)).join("\n"));
  }

  async write(job: number, text: string): Promise<void> {
    await appendFile(this.metrics(job), `${text}\n`);
  }
}

function configured(arms: readonly string[], steps: number): Map<string, Config> {
  const settings = (arm: string) => ({
    prototypes: arm === "joint" ? "joint" : "decoupled",
    train: { steps, evaluateEvery: 250 },
  });
  return new Map(arms.map((arm) => [arm, resolveConfig(settings(arm))]));
}

function training(arm: string, step: number): MetricsLine {
  const noise = 0.06 * Math.sin(step * 12.9898) * Math.cos(step * 78.233);
  return {
    step,
    loss: 5.2 + (arm === "joint" ? 1.7 : 1.9) * Math.exp(-step / 500) + noise,
    gradNorm: 1,
    spread: 0.86 + noise / 3,
    stepSeconds: 0.12,
    waitSeconds: 0,
    ...(arm === "joint" ? {} : { beta: 1, entropy: 2.1 + Math.exp(-step / 300) + noise }),
  };
}

function evaluation(arm: string, step: number): MetricsLine {
  const joint = arm === "joint";
  const grown = 1 - Math.exp(-step / 700);
  return {
    step,
    knn: 0.308 + (joint ? 0.17 : 0.22) * grown,
    spread: 0.8,
    unique: { "0.025": 1, "0.1": 1, "0.25": 1 - 0.05 * grown, "0.5": 1 - (joint ? 0.75 : 0.3) * grown },
    used: joint ? 0.05 + 0.9 * grown : 0.02 + 0.5 * grown,
    distinctUsed: { "0.5": joint ? 0.05 + 0.2 * grown : 0.02 + 0.4 * grown },
    perplexity: 100,
    seconds: 5 + 0.14 * step,
  };
}
