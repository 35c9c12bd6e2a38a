import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { commitCheckpoint } from "../../src/experiment/checkpoint.ts";
import type { Run } from "../../src/experiment/run-folder.ts";
import { originOf } from "../../src/experiment/same-run.ts";

/** A checkpoint of a run's first training, without a rank's files. */
export async function leaveCheckpoint(run: Run, step: number): Promise<void> {
  const [job] = run.jobs;
  assert.ok(job);
  const checkpoints = join(job.folder, "checkpoints");
  const incoming = join(checkpoints, "incoming");
  await mkdir(incoming);
  const clock = { step, seconds: 1, metricsBytes: 0 };
  const { config } = job;
  const parts = { clock, mixture: {}, config, metrics: "none", origin: await originOf(run, job) };
  await commitCheckpoint(checkpoints, incoming, parts, 2);
}
