import * as tf from "@tensorflow/tfjs-core";
import { RunError } from "../errors.ts";
import type { NamedTensors, PrototypePlugin, StepResult } from "./plugin.ts";
import { checkSaved, restored, save } from "./saved.ts";
import { sinkhorn } from "./sinkhorn.ts";
import { lengths, type StartOptions, startRows } from "./start.ts";

/** CAPI's temperatures, of the assignments and of the predictions. */
const ASSIGNMENT_TEMPERATURE = 0.06;
const PREDICTION_TEMPERATURE = 0.12;

type State = {
  /** W (K x D). */
  weights: tf.Tensor2D;
  /** AdamW's moving averages of the gradient and of its square (K x D). */
  first: tf.Tensor2D;
  second: tf.Tensor2D;
  /** c = W / |W| (K x D). */
  prototypes: tf.Tensor2D;
};

/**
 * Clustering with an objective of its own, as CAPI's: linear prototypes W, trained by AdamW to
 * predict the Sinkhorn-Knopp assignments that they give themselves,
 *
 *     q = sinkhorn(h W^T / 0.06),    p = softmax(h W^T / 0.12),    loss = -mean_i sum_k q_ik log p_ik.
 *
 * The closest rival of a mixture: decoupled from the encoder too, but by gradients. Its
 * responsibilities are q.
 */
export function clustering(options: StartOptions): PrototypePlugin {
  return new Clustering(options);
}

class Clustering implements PrototypePlugin {
  readonly name = "sinkhorn";
  readonly components: number;
  readonly dim: number;
  private now: State;
  private steps = 0;

  constructor(options: StartOptions) {
    this.components = options.components;
    this.dim = options.dim;
    this.now = tf.tidy(() => {
      const weights = startRows(options);
      const zeros = () => tf.zerosLike(weights);
      return { weights, first: zeros(), second: zeros(), prototypes: tf.div(weights, lengths(weights)) };
    });
  }

  async step(h: tf.Tensor2D): Promise<StepResult> {
    const { loss, responsibilities, next } = tf.tidy(() => {
      const { loss, responsibilities, gradient } = objective(h, this.now.weights);
      return { loss, responsibilities, next: adamW(this.now, gradient, this.steps + 1) };
    });
    const [value = Number.NaN] = await loss.data();
    loss.dispose();
    if (!Number.isFinite(value)) {
      tf.dispose([responsibilities, ...Object.values(next)]);
      throw new RunError("bad-batch", "the batch has rows that are not finite; it changed nothing");
    }
    this.dispose();
    this.now = next;
    this.steps += 1;
    return { responsibilities, touched: "all", scalars: { clusteringLoss: value } };
  }

  prototypes(): tf.Tensor2D {
    return this.now.prototypes;
  }

  parameters(): Promise<NamedTensors> {
    return save({ prototypes: this.now.prototypes });
  }

  async state(): Promise<NamedTensors> {
    return { ...(await save(this.now)), steps: { shape: [1], data: Float32Array.of(this.steps) } };
  }

  load(state: NamedTensors): void {
    checkSaved(state, { ...this.now, steps: { shape: [1] } }, this.name);
    this.dispose();
    this.now = {
      weights: restored(state, "weights"),
      first: restored(state, "first"),
      second: restored(state, "second"),
      prototypes: restored(state, "prototypes"),
    };
    this.steps = state.steps?.data[0] ?? 0;
  }

  dispose(): void {
    tf.dispose(this.now);
  }
}

/** The loss, the assignments, and the gradient in W: (p - q)^T h / (0.12 N). The assignments are held fixed. */
function objective(h: tf.Tensor2D, weights: tf.Tensor2D) {
  const scores: tf.Tensor2D = tf.matMul(h, tf.transpose(weights));
  const q = sinkhorn(tf.div(scores, ASSIGNMENT_TEMPERATURE));
  const logP: tf.Tensor2D = tf.logSoftmax(tf.div(scores, PREDICTION_TEMPERATURE));
  const loss: tf.Scalar = tf.neg(tf.mean(tf.sum(tf.mul(q, logP), 1)));
  const error = tf.div(tf.sub(tf.exp(logP), q), PREDICTION_TEMPERATURE * h.shape[0]);
  return { loss, responsibilities: q, gradient: tf.matMul<tf.Tensor2D>(tf.transpose(error), h) };
}

/** One step of AdamW with PyTorch's default settings; `step` counts from 1. */
function adamW(state: State, gradient: tf.Tensor2D, step: number): State {
  const [rate, beta1, beta2, epsilon, decay] = [1e-3, 0.9, 0.999, 1e-8, 0.01];
  const first: tf.Tensor2D = tf.add(tf.mul(state.first, beta1), tf.mul(gradient, 1 - beta1));
  const second: tf.Tensor2D = tf.add(tf.mul(state.second, beta2), tf.mul(tf.square(gradient), 1 - beta2));
  const scale = tf.add(tf.sqrt(tf.div(second, 1 - beta2 ** step)), epsilon);
  const change = tf.mul(tf.div(first, scale), rate / (1 - beta1 ** step));
  const weights: tf.Tensor2D = tf.sub(tf.mul(state.weights, 1 - rate * decay), change);
  return { weights, first, second, prototypes: tf.div(weights, lengths(weights)) };
}
