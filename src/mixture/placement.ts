import { KERNELS_VERSION } from "../backend/torch/program.ts";
import { RejectError } from "../bridge/errors.ts";
import type { Hello } from "../bridge/room.ts";
import type { Config } from "../config/schema.ts";

/** Where a mixture is computed: in Node, or by PyTorch on the device of the embeddings. */
export type Placement = "host" | "device";

export interface Chosen {
  placement: Placement;
  /** The reason, as the end of a sentence. */
  why: string;
}

/** From K x D = this on, PyTorch on the CPU was faster than Node (docs/performance.md). */
const DEVICE_FROM = 2 ** 20;

/** Chooses where to compute a mixture, and gives the reason. `onGpu`: whether the embeddings are on a GPU. */
export function choosePlacement(
  { placement, plugin, head }: Pick<Config, "placement" | "plugin" | "head">,
  onGpu: boolean,
): Chosen {
  if (placement !== "auto") return { placement, why: "as configured" };
  if (onGpu) return { placement: "device", why: "the embeddings are on a GPU" };
  const numbers = plugin.components * head.dim;
  const size = `${plugin.components} prototypes of dimension ${head.dim}`;
  if (numbers >= DEVICE_FROM) return { placement: "device", why: `${size} are many` };
  return { placement: "host", why: `${size} are few` };
}

/** The choice as a sentence for the user. */
export function placementLine({ placement, why }: Chosen): string {
  const where = placement === "device" ? "by PyTorch, where the embeddings are" : "in Node";
  return `The mixture is computed ${where} (placement ${placement}: ${why}).`;
}

/**
 * Checks that a rank can compute a mixture on its device.
 *
 * @throws RejectError if it has no executor, or one with another version of the operations
 */
export function checkExecutor({ run, executor }: Hello): void {
  if (executor === KERNELS_VERSION) return;
  const has = executor === 0 ? "none" : `version ${executor}`;
  throw new RejectError(
    "version",
    `run "${run}" places the mixture on the rank's device, which needs version ${KERNELS_VERSION} of the operations, but the rank has ${has}: install the same mixhead on both sides, or use placement=host`,
  );
}
