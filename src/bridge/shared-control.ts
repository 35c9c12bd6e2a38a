import { UserError } from "../errors.ts";
import { PythonControl } from "./launch.ts";

/** A share in the control process. There is one process at a time. */
export interface ControlShare {
  control: PythonControl;
  /** Gives the share back. When the last one is back, the process ends. */
  giveBack(): Promise<void>;
}

let current: { python: string; control: Promise<PythonControl>; shares: number } | undefined;

/**
 * Takes a share in the process that launches workers, and starts it if it does not run. `python`: the interpreter's
 * path.
 *
 * @throws UserError if it runs with another interpreter or there is no such interpreter; RunError if it does not start.
 */
export async function shareControl(python: string): Promise<ControlShare> {
  if (current !== undefined && current.python !== python) {
    throw new UserError(
      `this process already launches workers with ${current.python}; it cannot use ${python} until they have ended`,
    );
  }
  current ??= { python, control: PythonControl.start({ python }), shares: 0 };
  const mine = current;
  mine.shares += 1;
  let mayGive = true;
  const giveBack = async () => {
    if (!mayGive) return;
    mayGive = false;
    mine.shares -= 1;
    if (mine.shares > 0) return;
    if (current === mine) current = undefined;
    const control = await mine.control.catch(() => undefined);
    await control?.close();
  };
  try {
    return { control: await mine.control, giveBack };
  } catch (error) {
    await giveBack();
    throw error;
  }
}
