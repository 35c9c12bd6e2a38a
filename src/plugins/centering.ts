import * as tf from "@tensorflow/tfjs-core";
import type { NamedTensors } from "../files/tensors.ts";
import type { TargetProposal } from "./plugin.ts";
import { checkSaved, restored, save } from "./saved.ts";
import { selected } from "./selected.ts";

const MOMENTUM = 0.9;

/**
 * Centering as in DINO: targets are softmax((x - center) / T). The center is a moving average of the
 * mean x of the batches, updated after its use:
 *
 *     center <- 0.9 center + 0.1 mean_i x_i.
 */
export class Centering {
  /** 1 x K; created at the first batch. */
  private center: tf.Tensor2D | undefined;

  /** x (N x K) -> targets (N x K). The center moves when they are adopted. */
  propose(x: tf.Tensor2D, temperature: number): TargetProposal {
    const before = this.center;
    const { targets, old, center } = tf.tidy(() => {
      const old: tf.Tensor2D = before ?? tf.zeros([1, x.shape[1]]);
      const targets: tf.Tensor2D = tf.softmax(tf.div(tf.sub(x, old), temperature));
      const mean = tf.mean(x, 0, true);
      const center: tf.Tensor2D = tf.add(tf.mul(old, MOMENTUM), tf.mul(mean, 1 - MOMENTUM));
      return { targets, old, center };
    });
    return {
      targets,
      adopt: (ok) => {
        this.center = selected(ok, { center }, { center: old }).center;
        old.dispose();
      },
      discard: () => tf.dispose(before === undefined ? [center, old] : center),
    };
  }

  /** The center; empty before the first batch. */
  async state(): Promise<NamedTensors> {
    return this.center === undefined ? {} : save({ center: this.center });
  }

  /** @throws UserError if the state is not a center of as many prototypes */
  check(state: NamedTensors): void {
    if (Object.keys(state).length === 0) return;
    const width = this.center?.shape[1] ?? state.center?.data.length ?? 0;
    checkSaved(state, { center: { shape: [1, width] } }, "centering");
  }

  /** @throws UserError if the state is not a center of as many prototypes; nothing has changed then */
  load(state: NamedTensors): void {
    this.check(state);
    this.dispose();
    if (Object.keys(state).length > 0) this.center = restored(state, "center");
  }

  dispose(): void {
    this.center?.dispose();
    this.center = undefined;
  }
}
