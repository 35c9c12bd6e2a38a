import type * as tf from "@tensorflow/tfjs-core";
import { RunError } from "../errors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type { Clock } from "../schedules/schedule.ts";
import type { Proposal, PrototypePlugin, StepResult, Wanted } from "./plugin.ts";

/** Base of plugins whose whole state is tensors: they propose a step, and adopt it once it is known to be finite. */
export abstract class Estimator implements PrototypePlugin {
  abstract readonly name: string;
  abstract readonly components: number;
  abstract readonly dim: number;

  abstract propose(h: tf.Tensor2D, clock: Clock, wanted?: Wanted): Promise<Proposal>;
  abstract prototypes(): tf.Tensor2D;
  abstract parameters(): Promise<NamedTensors>;
  abstract state(): Promise<NamedTensors>;
  abstract load(state: NamedTensors): void;
  abstract dispose(): void;

  async step(h: tf.Tensor2D, clock: Clock): Promise<StepResult> {
    const proposal = await this.propose(h, clock, { responsibilities: true });
    const { responsibilities, touched } = proposal;
    try {
      if (responsibilities === undefined) throw new TypeError("the proposal has no responsibilities");
      const scalars = await finiteScalars(proposal.scalars);
      proposal.adopt();
      return { responsibilities, touched, scalars };
    } catch (error) {
      proposal.discard();
      responsibilities?.dispose();
      throw error;
    }
  }
}

/**
 * Reads scalars as numbers, and disposes the tensors among them.
 *
 * @throws RunError if one is not finite, which means that some row of the batch was not
 */
export async function finiteScalars(
  scalars: Record<string, number | tf.Scalar>,
): Promise<Record<string, number>> {
  const entries = Object.entries(scalars);
  const read = entries.map(async ([name, value]) => {
    if (typeof value === "number") return [name, value] as const;
    const [number = Number.NaN] = await value.data();
    value.dispose();
    return [name, number] as const;
  });
  const numbers = await Promise.all(read);
  if (numbers.every(([, value]) => Number.isFinite(value))) return Object.fromEntries(numbers);
  throw new RunError("bad-batch", "the batch has rows that are not finite; it changed nothing");
}
