import { sentence } from "../errors.ts";

/** Calls a room's hook, which nobody awaits: of its failure there is nobody to be told. */
export function tell(hook: () => void): void {
  try {
    hook();
  } catch (error) {
    process.emitWarning(sentence(error));
  }
}
