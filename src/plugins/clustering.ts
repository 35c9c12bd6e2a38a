import * as tf from "@tensorflow/tfjs-core";
import type { NamedTensors } from "../files/tensors.ts";
import type { Clock } from "../schedules/schedule.ts";
import { Estimator } from "./estimator.ts";
import type { Proposal, PrototypePlugin, Wanted } from "./plugin.ts";
import { checkSaved, restored, save } from "./saved.ts";
import { selected } from "./selected.ts";
import { sinkhorn } from "./sinkhorn.ts";
import { lengths, type StartOptions, startRows } from "./start.ts";
import { winnersOf } from "./winners.ts";

/** CAPI's temperatures of assignments and predictions. */
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
  /** Steps taken (1). */
  steps: tf.Tensor1D;
};

/**
 * Clustering with its own objective, as in CAPI. AdamW trains linear prototypes W to predict their own
 * Sinkhorn-Knopp assignments:
 *
 *     q = sinkhorn(h W^T / 0.06),    p = softmax(h W^T / 0.12),    loss = -mean_i sum_k q_ik log p_ik.
 *
 * This is the closest alternative to a mixture: also decoupled from the encoder, but trained by
 * gradients. Its responsibilities are q.
 */
export function clustering(options: StartOptions): PrototypePlugin {
  return new Clustering(options);
}

class Clustering extends Estimator {
  readonly name = "sinkhorn";
  readonly components: number;
  readonly dim: number;
  private now: State;

  constructor(options: StartOptions) {
    super();
    this.components = options.components;
    this.dim = options.dim;
    this.now = tf.tidy(() => {
      const weights = startRows(options);
      const zeros = () => tf.zerosLike(weights);
      const prototypes: tf.Tensor2D = tf.div(weights, lengths(weights));
      return { weights, first: zeros(), second: zeros(), prototypes, steps: tf.zeros([1]) };
    });
  }

  async propose(h: tf.Tensor2D, _clock: Clock, wanted: Wanted = {}): Promise<Proposal> {
    const old = this.now;
    const { next, ...made } = tf.tidy(() => {
      const { loss, responsibilities, gradient } = objective(h, old.weights);
      return {
        next: adamW(old, gradient),
        ...(wanted.responsibilities && { responsibilities }),
        ...(wanted.winners && { winners: winnersOf(responsibilities) }),
        scalars: { clusteringLoss: loss },
      };
    });
    return {
      ...made,
      prototypes: next.prototypes,
      touched: "all",
      guarded: true,
      adopt: (ok) => {
        this.now = selected(ok, next, old);
        tf.dispose(old);
      },
      discard: () => tf.dispose(next),
    };
  }

  prototypes(): tf.Tensor2D {
    return this.now.prototypes;
  }

  parameters(): Promise<NamedTensors> {
    return save({ prototypes: this.now.prototypes });
  }

  state(): Promise<NamedTensors> {
    return save(this.now);
  }

  load(state: NamedTensors): void {
    checkSaved(state, this.now, this.name);
    this.dispose();
    this.now = {
      weights: restored(state, "weights"),
      first: restored(state, "first"),
      second: restored(state, "second"),
      prototypes: restored(state, "prototypes"),
      steps: tf.tensor1d(state.steps?.data ?? [0]),
    };
  }

  dispose(): void {
    tf.dispose(this.now);
  }
}

/** The loss, the assignments q, and the gradient by W with q held fixed: (p - q)^T h / (0.12 N). */
function objective(h: tf.Tensor2D, weights: tf.Tensor2D) {
  const scores: tf.Tensor2D = tf.matMul(h, tf.transpose(weights));
  const q = sinkhorn(tf.div(scores, ASSIGNMENT_TEMPERATURE));
  const logP: tf.Tensor2D = tf.logSoftmax(tf.div(scores, PREDICTION_TEMPERATURE));
  const loss: tf.Scalar = tf.neg(tf.mean(tf.sum(tf.mul(q, logP), 1)));
  const error = tf.div(tf.sub(tf.exp(logP), q), PREDICTION_TEMPERATURE * h.shape[0]);
  return { loss, responsibilities: q, gradient: tf.matMul<tf.Tensor2D>(tf.transpose(error), h) };
}

/** One step of AdamW with PyTorch's default settings. */
function adamW(state: State, gradient: tf.Tensor2D): State {
  const [rate, beta1, beta2, epsilon, decay] = [1e-3, 0.9, 0.999, 1e-8, 0.01];
  const steps: tf.Tensor1D = tf.add(state.steps, 1);
  // 1 - beta^t by expm1: for beta near 1, float32 would lose most digits of the power itself.
  const correction = (beta: number): tf.Tensor1D => tf.neg(tf.expm1(tf.mul(steps, Math.log(beta))));
  const first: tf.Tensor2D = tf.add(tf.mul(state.first, beta1), tf.mul(gradient, 1 - beta1));
  const second: tf.Tensor2D = tf.add(tf.mul(state.second, beta2), tf.mul(tf.square(gradient), 1 - beta2));
  const scale = tf.add(tf.sqrt(tf.div(second, correction(beta2))), epsilon);
  const change = tf.mul(tf.div(first, scale), tf.div(rate, correction(beta1)));
  const weights: tf.Tensor2D = tf.sub(tf.mul(state.weights, 1 - rate * decay), change);
  return { weights, first, second, prototypes: tf.div(weights, lengths(weights)), steps };
}
