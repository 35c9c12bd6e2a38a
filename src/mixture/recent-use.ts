import * as tf from "@tensorflow/tfjs-core";
import { selected } from "../plugins/selected.ts";

/** A component is in use if it has won a row within this many steps. */
export const RECENT = 500;

/** Tracks which components have won a row recently. */
export class RecentUse {
  /** The step at which each component last won a row (K); created at the first step. */
  private won: tf.Tensor1D | undefined;
  /** The last step that was adopted. */
  private step = 0;

  constructor(private readonly components: number) {}

  /** Proposes the share of components in use after step `step`, in which those with a 1 in `winners` (K) won a row. */
  propose(
    winners: tf.Tensor1D,
    step: number,
  ): { used: tf.Scalar; adopt(ok?: tf.Scalar): void; discard(): void } {
    const before = this.won;
    const { used, old, won } = tf.tidy(() => {
      const old: tf.Tensor1D = before ?? tf.fill([this.components], -RECENT);
      const won: tf.Tensor1D = tf.maximum(old, tf.sub(tf.mul(winners, step + RECENT), RECENT));
      const recent = tf.cast(tf.greater(won, step - RECENT), "float32");
      return { used: tf.mean<tf.Scalar>(recent), old, won };
    });
    return {
      used,
      adopt: (ok) => {
        this.won = tf.keep(selected(ok, { won }, { won: old }).won);
        this.step = step;
        old.dispose();
      },
      discard: () => tf.dispose(before === undefined ? [won, old, used] : [won, used]),
    };
  }

  /** K numbers: 1 if a component has won a row recently, else 0; undefined before the first step. */
  async latest(): Promise<Uint8Array | undefined> {
    const { step } = this;
    const won = await this.won?.data<"float32">();
    return won && Uint8Array.from(won, (at) => (at > step - RECENT ? 1 : 0));
  }

  forget(): void {
    this.won?.dispose();
    this.won = undefined;
  }

  dispose(): void {
    this.forget();
  }
}
