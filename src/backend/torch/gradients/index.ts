import { binary } from "./binary.ts";
import { elementwise } from "./elementwise.ts";
import { reductions } from "./reductions.ts";
import { register } from "./rule.ts";
import { shaping } from "./shaping.ts";

let registered = false;

/**
 * Tells tfjs how to differentiate the kernels, where nothing else has: the package tfjs-core has the rules only for
 * those who bundle it.
 */
export function registerGradients(): void {
  if (registered) return;
  registered = true;
  register({ ...elementwise, ...binary, ...reductions, ...shaping });
}
