import { UserError } from "../errors.ts";
import { PythonControl } from "./launch.ts";

/** A share in the control process, of which there is one at a time. */
export interface ControlShare {
  control: PythonControl;
  /** The last one to give his share back ends the process. */
  giveBack(): Promise<void>;
}

let current: { python: string; control: Promise<PythonControl>; shares: number } | undefined;

/**
 * The process that launches workers, started where it does not run yet. `python`: the interpreter's path.
 *
 * @throws UserError where it runs with another interpreter, or there is no such interpreter; RunError where it does
 * not start.
 */
export async function shareControl(python: string): Promise<ControlShare> {
  if (current !== undefined && current.python !== python) {
    throw new UserError(
      `this process launches workers with ${current.python} already; ${python} has to wait until they are done`,
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
