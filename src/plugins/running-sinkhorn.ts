import * as tf from "@tensorflow/tfjs-core";
import type { NamedTensors } from "../files/tensors.ts";
import type { TargetProposal } from "./plugin.ts";
import { checkSaved, restored, save } from "./saved.ts";
import { selected } from "./selected.ts";

const ITERATIONS = 3;

/** `logSums` (1 x K): log s; only differences matter, and the largest is 0. `rows` (1 x 1): the number of rows in it. */
type Memory = { logSums: tf.Tensor2D; rows: tf.Tensor2D };

/**
 * Sinkhorn-Knopp over the batch and earlier rows, as mixhead.losses.Sinkhorn, for batches that are small relative to
 * K. Targets are softmax(logits - log s). s_k is a mean over rows i, each of which keeps the term that it had in its
 * own batch,
 *
 *     exp(logits_ik) / (mean over prototypes j of exp(logits_ij) / s_j).
 */
export class RunningSinkhorn {
  /** Created at the first batch. */
  private memory: Memory | undefined;

  constructor(
    /** How many earlier rows count. */
    private readonly limit: number,
  ) {}

  /** x (N x K) -> targets (N x K). The memory moves when they are adopted. */
  propose(x: tf.Tensor2D, temperature: number): TargetProposal {
    const before = this.memory;
    const { targets, ...tensors } = tf.tidy(() => {
      const [n, k] = x.shape;
      const old: Memory = before ?? { logSums: tf.zeros([1, k]), rows: tf.zeros([1, 1]) };
      const logits: tf.Tensor2D = tf.div(x, temperature);
      const all = tf.add(old.rows, n);
      const past = tf.add(old.logSums, tf.log(tf.div(old.rows, all)));
      let logSums = old.logSums;
      for (let iteration = 0; iteration < ITERATIONS; iteration++) {
        const ofRows = tf.sub(tf.logSumExp(tf.sub(logits, logSums), 1, true), Math.log(k));
        const ofBatch = tf.sub(tf.logSumExp(tf.sub(logits, ofRows), 0, true), tf.log(all));
        logSums = tf.logSumExp(tf.concat([past, ofBatch], 0), 0, true);
      }
      return {
        targets: tf.softmax<tf.Tensor2D>(tf.sub(logits, logSums)),
        old,
        next: {
          logSums: tf.sub<tf.Tensor2D>(logSums, tf.max(logSums)),
          rows: tf.minimum<tf.Tensor2D>(all, this.limit),
        },
      };
    });
    const { old, next } = tensors;
    return {
      targets,
      adopt: (ok) => {
        this.memory = selected(ok, next, old);
        tf.dispose(old);
      },
      discard: () => tf.dispose(before === undefined ? [old, next] : next),
    };
  }

  /** The memory; empty before the first batch. */
  async state(): Promise<NamedTensors> {
    return this.memory === undefined ? {} : save(this.memory);
  }

  /** @throws UserError if the state is not a memory of as many prototypes */
  check(state: NamedTensors): void {
    if (Object.keys(state).length === 0) return;
    const width = this.memory?.logSums.shape[1] ?? state.logSums?.data.length ?? 0;
    checkSaved(state, { logSums: { shape: [1, width] }, rows: { shape: [1, 1] } }, "a balance with a memory");
  }

  /** @throws UserError if the state is not a memory of as many prototypes; nothing has changed then */
  load(state: NamedTensors): void {
    this.check(state);
    this.dispose();
    if (Object.keys(state).length > 0)
      this.memory = { logSums: restored(state, "logSums"), rows: restored(state, "rows") };
  }

  dispose(): void {
    if (this.memory) tf.dispose(this.memory);
    this.memory = undefined;
  }
}
