import { sentence } from "../errors.ts";

/** Calls a room's hook. Nobody awaits these hooks; a failure is only logged. */
export function tell(hook: () => void): void {
  try {
    hook();
  } catch (error) {
    process.emitWarning(sentence(error));
  }
}
