import * as tf from "@tensorflow/tfjs-core";
import type { NamedTensors } from "./plugin.ts";
import { checkSaved, restored, save } from "./saved.ts";

const MOMENTUM = 0.9;

/**
 * Centering, as in DINO: targets are softmax((x - center) / T), and the center is a moving average
 * of the batches' mean x, updated after its use:
 *
 *     center <- 0.9 center + 0.1 mean_i x_i.
 */
export class Centering {
  /** 1 x K; made at the first batch. */
  private center: tf.Tensor2D | undefined;

  /** x (N x K) -> targets (N x K). */
  of(x: tf.Tensor2D, temperature: number): tf.Tensor2D {
    const { targets, center } = tf.tidy(() => {
      const old: tf.Tensor2D = this.center ?? tf.zeros([1, x.shape[1]]);
      const targets: tf.Tensor2D = tf.softmax(tf.div(tf.sub(x, old), temperature));
      const mean = tf.mean(x, 0, true);
      const center: tf.Tensor2D = tf.add(tf.mul(old, MOMENTUM), tf.mul(mean, 1 - MOMENTUM));
      return { targets, center };
    });
    this.dispose();
    // Kept past the step that is under way, whatever scope that has.
    this.center = tf.keep(center);
    return targets;
  }

  /** The center; nothing before the first batch. */
  async state(): Promise<NamedTensors> {
    return this.center === undefined ? {} : save({ center: this.center });
  }

  /** @throws UserError, and changes nothing, where the state is not a center of as many prototypes. */
  load(state: NamedTensors): void {
    const empty = Object.keys(state).length === 0;
    const width = this.center?.shape[1] ?? state.center?.data.length ?? 0;
    if (!empty) checkSaved(state, { center: { shape: [1, width] } }, "centering");
    this.dispose();
    if (!empty) this.center = restored(state, "center");
  }

  dispose(): void {
    this.center?.dispose();
    this.center = undefined;
  }
}
