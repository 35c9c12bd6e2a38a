import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { sentence, UserError } from "../errors.ts";
import type { PrototypePlugin, StepResult } from "./plugin.ts";

/** What rounding may add to a sum that should be 1. */
const TOLERANCE = 1e-3;

/**
 * A plugin of the user's held to its contract: where it throws, or gives numbers that are not finite
 * or of another shape, its step ends with one sentence and nothing of it reaches the encoder. `who`
 * is how sentences call it.
 */
export function checked(plugin: PrototypePlugin, who: string): PrototypePlugin {
  const { name, components, dim } = plugin;
  return {
    name,
    components,
    dim,
    step: async (h, clock) => {
      const where = `${who}, step ${clock.step}`;
      let result: StepResult;
      try {
        result = await plugin.step(h, clock);
      } catch (error) {
        throw new UserError(`${where}: it failed: ${sentence(error)}`, { cause: error });
      }
      await checkStep(result, h.shape[0], components, where);
      await checkPrototypes(plugin.prototypes(), components, dim, where);
      return result;
    },
    prototypes: () => plugin.prototypes(),
    parameters: () => plugin.parameters(),
    state: () => plugin.state(),
    load: (state) => plugin.load(state),
    dispose: () => plugin.dispose(),
  };
}

const stepResult = z.object(
  {
    responsibilities: z.instanceof(tf.Tensor, { error: "a tensor is needed" }),
    touched: z.union([z.literal("all"), z.instanceof(Int32Array)], {
      error: 'the text "all" or an Int32Array is needed',
    }),
    scalars: z.record(
      z.string(),
      z.custom<number>((value) => typeof value === "number", { error: "a number is needed" }),
      { error: "an object of numbers is needed" },
    ),
  },
  { error: "the result must be {responsibilities, touched, scalars}" },
);

async function checkStep(result: unknown, n: number, k: number, where: string): Promise<void> {
  const parsed = stepResult.safeParse(result);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new UserError(`${where}: ${[...(issue?.path ?? []), issue?.message].join(": ")}`);
  }
  const { responsibilities, touched } = parsed.data;
  checkShape(responsibilities, [n, k], `${where}: responsibilities`);
  if (touched !== "all" && touched.some((index) => index < 0 || index >= k)) {
    throw new UserError(`${where}: touched: an index is not below ${k}`);
  }
  await checkOnes(
    tf.tidy(() => tf.sum(responsibilities, 1)),
    `${where}: responsibilities: a row must sum to 1, and those of row`,
  );
}

/** @throws UserError where they are not K rows of unit length. */
export async function checkPrototypes(c: unknown, k: number, d: number, where: string): Promise<void> {
  checkShape(c, [k, d], `${where}: prototypes`);
  await checkOnes(
    tf.tidy(() => tf.sum(tf.square(c), 1)),
    `${where}: prototypes: a row must be of unit length, and the squares of row`,
  );
}

function checkShape(tensor: unknown, shape: number[], what: string): asserts tensor is tf.Tensor2D {
  if (!(tensor instanceof tf.Tensor)) throw new UserError(`${what} must be a tensor`);
  if (tensor.shape.join() === shape.join()) return;
  throw new UserError(`${what}: ${tensor.shape.join(" x ")} where ${shape.join(" x ")} is needed`);
}

/** Not finite is not 1 either: one look at the sums finds both. */
async function checkOnes(sums: tf.Tensor, what: string): Promise<void> {
  const values = await sums.data<"float32">();
  sums.dispose();
  const row = values.findIndex((value) => !(Math.abs(value - 1) < TOLERANCE));
  if (row === -1) return;
  throw new UserError(`${what} ${row} sum to ${values[row]}`);
}
