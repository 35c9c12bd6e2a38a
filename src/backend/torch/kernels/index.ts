import { binary } from "./binary.ts";
import { creation } from "./creation.ts";
import { elementwise } from "./elementwise.ts";
import { indexing } from "./indexing.ts";
import { type KernelTable, register, type Target } from "./kernel.ts";
import { products } from "./products.ts";
import { reductions } from "./reductions.ts";
import { shaping } from "./shaping.ts";
import { unsupported } from "./unsupported.ts";

/** The kernels of backend torch, by tfjs's names. */
const kernels: KernelTable = {
  ...elementwise,
  ...binary,
  ...reductions,
  ...products,
  ...creation,
  ...shaping,
  ...indexing,
};

let registered = false;

/** Registers the kernels with tfjs, once. */
export function registerKernels(targetOf: (backend: object) => Target): void {
  if (registered) return;
  registered = true;
  register("torch", { ...kernels, ...unsupported(kernels) }, targetOf);
}
