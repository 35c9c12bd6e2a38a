import * as tf from "@tensorflow/tfjs-core";
import type { KernelTable } from "./kernel.ts";

/** All other kernels of tfjs. They fail with their name and the line of code that calls them. */
export function unsupported(supported: KernelTable): KernelTable {
  const names = Object.entries(tf).flatMap(([name, value]) => (name === value ? [name] : []));
  return Object.fromEntries(
    names
      .filter((name) => !Object.hasOwn(supported, name))
      .map((name) => [
        name,
        (call) => {
          throw call.error(
            `backend torch has no kernel ${name}: convolutions, images, strings, complex numbers, and shapes that depend on values are not computed there`,
          );
        },
      ]),
  );
}
