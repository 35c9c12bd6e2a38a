import { KERNELS_VERSION } from "../backend/torch/program.ts";
import { RejectError } from "../bridge/errors.ts";
import type { Hello } from "../bridge/room.ts";
import type { Config } from "../config/schema.ts";

/** Where a mixture is computed: in Node, or by PyTorch where the embeddings are. */
export type Placement = "host" | "device";

export interface Chosen {
  placement: Placement;
  /** The end of a sentence. */
  why: string;
}

/** From so many numbers of prototypes on, a CPU's own PyTorch was faster than Node beside it (docs/performance.md). */
const DEVICE_FROM = 2 ** 20;

/** Where the mixture of a rank is computed, and why. `onGpu`: whether its embeddings are on a GPU. */
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

/** The same in one line, for whoever starts it. */
export function placementLine({ placement, why }: Chosen): string {
  const where = placement === "device" ? "by PyTorch, where the embeddings are" : "in Node";
  return `The mixture is computed ${where} (placement ${placement}: ${why}).`;
}

/**
 * Whether a rank can compute what is placed on its device.
 *
 * @throws RejectError where its operations are of another version, or it has none.
 */
export function checkExecutor({ run, executor }: Hello): void {
  if (executor === KERNELS_VERSION) return;
  const has = executor === 0 ? "none" : `version ${executor}`;
  throw new RejectError(
    "version",
    `run "${run}" places the mixture on the rank's device, which needs version ${KERNELS_VERSION} of the operations, and the rank has ${has}: install the same mixhead on both sides, or use placement=host`,
  );
}
