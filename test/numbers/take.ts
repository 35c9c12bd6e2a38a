import { hardBatches } from "./batches.ts";
import { broken } from "./invariants.ts";
import { D, ROWS, type Setting } from "./settings.ts";
import type { Subject } from "./subject.ts";

/**
 * Takes so many steps on batches that break a careless mixture, and looks at every invariant after each.
 *
 * @throws Error with one sentence for the first that does not hold: setting, seed, step and kind of batch.
 */
export async function takeHardSteps(
  subject: Subject,
  { name, parts, responsibilities }: Setting,
  steps: number,
  seed: number,
): Promise<void> {
  const batches = hardBatches(seed, D, ROWS);
  let before = subject.start;
  for (let step = 0; step < steps; step++) {
    const { kind, rows } = batches.next().value;
    const where = `${name}, seed ${seed}, step ${step} (${kind}, ${rows.length} rows)`;
    const { state, targets, prototypes, scalars } = await subject
      .take(rows, { step, steps, epoch: 0 })
      .catch((cause: unknown) => {
        throw new Error(`${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
      });
    const why = broken(parts.plugin, D, {
      before,
      after: state,
      rows: targets,
      responsibilities,
      prototypes,
      scalars,
    });
    if (why !== null) throw new Error(`${where}: ${why}`);
    before = state;
  }
}
