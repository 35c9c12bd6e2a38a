import { binary } from "./binary.ts";
import { elementwise } from "./elementwise.ts";
import { reductions } from "./reductions.ts";
import { register } from "./rule.ts";
import { shaping } from "./shaping.ts";

let registered = false;

/**
 * Registers gradients of the kernels with tfjs, unless they are registered already. The package tfjs-core registers
 * its rules only as a side effect of the whole tfjs bundle.
 */
export function registerGradients(): void {
  if (registered) return;
  registered = true;
  register({ ...elementwise, ...binary, ...reductions, ...shaping });
}
