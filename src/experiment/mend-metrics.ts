import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomic } from "../files/atomic.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { metricsIn } from "./metrics-log.ts";
import type { Job } from "./run-folder.ts";

/** What is wrong with a training's metrics.jsonl, and how it is mended. */
export interface Mending {
  /** A sentence, for whoever starts it. */
  note: string;
  /** Writes the file anew, up to the checkpoint. */
  mend(): Promise<void>;
  /** Length of the mended file as far as the training keeps it. */
  metricsBytes: number;
}

/**
 * Compares a training's metrics.jsonl with what its checkpoint knows of it. Lines that are cut or missing come from
 * the checkpoint. A checkpoint of an earlier version holds no lines: then whole lines stay, and the gap gets a line
 * of its own, `{"step": ..., "gap": true}`.
 *
 * Changes nothing. Null: the file is as it was.
 */
export async function metricsToMend(
  { folder }: Pick<Job, "folder">,
  checkpoint: Checkpoint,
): Promise<Mending | null> {
  const path = join(folder, "metrics.jsonl");
  const current = await readFile(path).catch(() => undefined);
  const { metrics, clock } = checkpoint;
  if (metrics !== undefined) {
    if (metrics.length === 0 || current?.subarray(0, metrics.length).equals(metrics)) return null;
    return {
      note: `${path} ${wrong(current, metrics)}: its lines up to step ${clock.step} are restored from the checkpoint`,
      mend: () => writeAtomic(path, [metrics]),
      metricsBytes: clock.metricsBytes,
    };
  }
  const kept = current?.subarray(0, clock.metricsBytes).toString("utf8") ?? "";
  const { lines, damaged } = metricsIn(kept);
  if (damaged === undefined && Buffer.byteLength(kept) === clock.metricsBytes) return null;
  const rest = lines.filter(({ step }) => step <= clock.step);
  const text = [...rest, { step: clock.step, gap: true }].map((line) => `${JSON.stringify(line)}\n`).join("");
  const what = current === undefined ? "is missing" : "is not whole";
  return {
    note: `${path} ${what}: ${rest.length} of its lines up to step ${clock.step} are left, and a line says that there is a gap`,
    mend: () => writeAtomic(path, [text]),
    metricsBytes: Buffer.byteLength(text),
  };
}

function wrong(current: Buffer | undefined, metrics: Buffer): string {
  if (current === undefined) return "is missing";
  let at = 0;
  while (at < current.length && current[at] === metrics[at]) at++;
  const line = metrics.subarray(0, at).toString("latin1").split("\n").length;
  return at === current.length ? `ends within line ${line}` : `is not what was written, from line ${line} on`;
}
