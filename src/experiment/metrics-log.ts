import { open, readFile, stat, truncate } from "node:fs/promises";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { fileError } from "../files/errors.ts";
import { parseJson } from "../files/json.ts";

const share = z.number().min(0).max(1);

/** One line of metrics.jsonl. Training lines have the loss, evaluation lines the measures; both have the step. */
export const metricsLine = z.looseObject({
  /** Steps taken so far. */
  step: z.int().nonnegative(),
  loss: z.number().nullable().optional(),
  /** Running accuracy of the online probe. */
  online: share.optional(),
  knn: share.optional(),
  unique: z.record(z.string(), share).optional(),
  used: share.optional(),
  /** Runs of earlier versions were evaluated without it. */
  distinctUsed: z.record(z.string(), share).optional(),
  perplexity: z.number().optional(),
  /** Seconds of training and evaluation so far, over all sessions of the run. */
  seconds: z.number().optional(),
});
export type MetricsLine = z.infer<typeof metricsLine>;

/** A line that an evaluation wrote. */
const evaluationLine = metricsLine.required({
  knn: true,
  unique: true,
  used: true,
  perplexity: true,
  seconds: true,
});
export type EvaluationLine = z.infer<typeof evaluationLine>;

/**
 * What a training line has that is not the plugin's to tell, and beta, which is as the configuration says. Entropy has
 * a figure of its own.
 */
const NAMED: readonly string[] = [
  ...Object.keys(metricsLine.shape),
  ...["gradNorm", "spread", "stepSeconds", "loadSeconds", "waitSeconds", "beta", "entropy"],
];

/** The scalars by which a plugin tells of itself in a training line; an evaluation has none. */
export function pluginScalars(line: MetricsLine): Record<string, number> {
  if (line.knn !== undefined) return {};
  return Object.fromEntries(
    Object.entries(line).flatMap(([name, value]): [string, number][] =>
      typeof value === "number" && !NAMED.includes(name) ? [[name, value]] : [],
    ),
  );
}

/** Appends measurements to a metrics.jsonl, a JSON object a line, in the order in which they are given. */
export class MetricsLog {
  private last: Promise<void> = Promise.resolve();

  /** `persist` makes a write, and repeats it after a failure. */
  constructor(
    readonly path: string,
    private readonly persist: (write: () => Promise<void>) => Promise<void> = (write) => write(),
  ) {}

  /** @throws RunError "disk" if the line cannot be written; no part of it is left then. */
  append(line: MetricsLine): Promise<void> {
    this.last = this.last.then(() => this.persist(() => this.write(`${JSON.stringify(line)}\n`)));
    return this.last;
  }

  private async write(text: string): Promise<void> {
    const file = await open(this.path, "a").catch((error) => {
      throw fileError("write", this.path, error);
    });
    try {
      const { size } = await file.stat();
      try {
        await file.appendFile(text);
      } catch (error) {
        await file.truncate(size).catch(() => {});
        throw fileError("write", this.path, error);
      }
    } finally {
      await file.close();
    }
  }

  /** The length in bytes when all appended lines are written, for `cutTo`. */
  async size(): Promise<number> {
    await this.last;
    return stat(this.path).then(
      (file) => file.size,
      () => 0,
    );
  }

  /** Drops the lines that were written after a checkpoint: the resumed run writes them again. */
  async cutTo(bytes: number): Promise<void> {
    if ((await this.size()) > bytes) await truncate(this.path, bytes);
  }
}

/**
 * A last line whose end is not written yet is left out: the run may be under way.
 *
 * @throws UserError with file and line if a line is not a measurement.
 */
export async function readMetrics(path: string): Promise<MetricsLine[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch {
    return [];
  }
  const { lines, damaged } = metricsIn(text.slice(0, text.lastIndexOf("\n") + 1));
  if (damaged !== undefined) throw new UserError(`${path}, line ${damaged}: not a measurement`);
  return lines;
}

/** The measurements in a text, and the number of the first line that is none, counted from 1. */
export function metricsIn(text: string): { lines: MetricsLine[]; damaged?: number } {
  const lines: MetricsLine[] = [];
  let damaged: number | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "") continue;
    const parsed = metricsLine.safeParse(parseJson(line));
    if (parsed.success) lines.push(parsed.data);
    else damaged ??= index + 1;
  }
  return { lines, ...(damaged !== undefined && { damaged }) };
}

/** The evaluations among measurements. */
export function evaluationsOf(lines: readonly MetricsLine[]): EvaluationLine[] {
  return lines.flatMap((line) => evaluationLine.safeParse(line).data ?? []);
}
