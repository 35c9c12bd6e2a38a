import { applyOverrides, resolveConfig } from "../config/load.ts";
import { UserError } from "../errors.ts";
import { lockRun } from "./lock.ts";
import { type Run, withConfigs, writeRecord } from "./run-folder.ts";
import { checkpointOf, WHERE } from "./same-run.ts";
import { checkValues } from "./values.ts";

/** The last step. Schedules have the length of train.steps, so it is the same run up to there. */
const STOP = "train.stop";

/**
 * A run as it resumes. Overrides such as "placement=host" move it to another place. "train.stop=3000" gives it
 * another last step, which goes into its record.
 *
 * @throws UserError, and changes nothing, if an override would change the training, or if a training has passed the last step.
 */
export async function goingOn(run: Run, overrides: readonly string[]): Promise<Run> {
  applyOverrides({}, overrides);
  const stops: string[] = [];
  for (const override of overrides) {
    const key = override.slice(0, override.indexOf("="));
    if (key === STOP) stops.push(override);
    else if (!WHERE.includes(key.split(".", 1).join())) {
      throw new UserError(
        `${key} belongs to what runs/${run.name} is: it goes on with its own; allowed: ${[STOP, ...WHERE].join(", ")}`,
      );
    }
  }
  const source = `runs/${run.name}`;
  const next = withConfigs(run, (config) => resolveConfig(config, overrides, source));
  if (stops.length === 0) return next;
  const free = await lockRun(run.folder);
  try {
    checkValues(next.name, next.jobs);
    await checkStop(next);
    await writeRecord(withConfigs(run, (config) => resolveConfig(config, stops, source)));
  } finally {
    await free();
  }
  return next;
}

/** @throws UserError if a training has passed its new last step. */
async function checkStop(run: Run): Promise<void> {
  for (const job of run.jobs) {
    const taken = (await checkpointOf(run, job)).checkpoint?.clock.step ?? 0;
    const { stop = taken, steps } = job.config.train;
    if (stop >= taken) continue;
    throw new UserError(
      `${STOP} is ${stop}, and ${job.label} of runs/${run.name} has taken ${taken} steps; allowed: ${taken} to ${steps}`,
    );
  }
}
