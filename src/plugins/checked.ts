import * as tf from "@tensorflow/tfjs-core";
import { z } from "zod";
import { sentence, UserError } from "../errors.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type { PrototypePlugin } from "./plugin.ts";

/** The largest rounding error allowed in a sum that should be 1. */
const TOLERANCE = 1e-3;

/**
 * Wraps a user's plugin and checks that it keeps its contract. If it throws, or returns numbers that are
 * not finite or have another shape, the wrapper throws a UserError with one sentence. Bad values never
 * reach the encoder or a file.
 *
 * @param who the plugin's name in error messages
 */
export function checked(plugin: PrototypePlugin, who: string): PrototypePlugin {
  const { name, components, dim } = plugin;
  const prototypes = (where: string) => {
    try {
      return plugin.prototypes();
    } catch (error) {
      throw failure(`${where}: prototypes`, error);
    }
  };
  return {
    name,
    components,
    dim,
    step: async (h, clock) => {
      const where = `${who}, step ${clock.step}`;
      const result = await asked(() => plugin.step(h, clock), where);
      try {
        await checkStep(result, () => prototypes(where), { n: h.shape[0], k: components, d: dim }, where);
      } catch (error) {
        if (result?.responsibilities instanceof tf.Tensor) result.responsibilities.dispose();
        throw error;
      }
      return result;
    },
    ...(plugin.targets && {
      targets: async (h, clock) => {
        const where = `${who}, step ${clock.step}: targets`;
        const targets = await asked(async () => plugin.targets?.(h, clock), where);
        try {
          checkShape(targets, [h.shape[0], components], where);
          await checkDistributions(targets, where);
          return targets;
        } catch (error) {
          if (targets instanceof tf.Tensor) targets.dispose();
          throw error;
        }
      },
    }),
    prototypes: () => prototypes(who),
    parameters: () => tensors(() => plugin.parameters(), `${who}: parameters`),
    state: () => tensors(() => plugin.state(), `${who}: state`),
    load: (state) => plugin.load(state),
    // The plugin is no longer needed, so a failure is only a warning.
    dispose: () => {
      asked(async () => plugin.dispose(), `${who}: dispose`).catch((error: unknown) =>
        process.emitWarning(sentence(error)),
      );
    },
  };
}

async function asked<T>(ask: () => Promise<T>, where: string): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw failure(where, error);
  }
}

function failure(where: string, error: unknown): UserError {
  return new UserError(`${where}: it failed: ${sentence(error)}`, { cause: error });
}

const stepResult = z.object(
  {
    responsibilities: z.instanceof(tf.Tensor, { error: "a tensor is needed" }),
    touched: z.union([z.literal("all"), z.instanceof(Int32Array)], {
      error: 'the text "all" or an Int32Array is needed',
    }),
    scalars: z.record(z.string(), z.number({ error: "a finite number is needed" }), {
      error: "an object of numbers is needed",
    }),
  },
  { error: "the result must be {responsibilities, touched, scalars}" },
);

const namedTensors = z.record(
  z.string(),
  z
    .object(
      {
        shape: z.array(z.int().nonnegative(), { error: "an array of sizes is needed" }),
        data: z.instanceof(Float32Array, { error: "a Float32Array is needed" }),
      },
      { error: "{shape, data} is needed" },
    )
    .superRefine(({ shape, data }, context) => {
      const size = shape.reduce((product, length) => product * length, 1);
      if (data.length !== size)
        context.addIssue(`${data.length} numbers where ${shape.join(" x ") || 1} is needed`);
      if (!data.every(Number.isFinite)) context.addIssue("finite numbers are needed");
    }),
  { error: "an object of {shape, data} is needed" },
);

/** Checks tensors that will be written to a file, whose reader could not tell where a mistake came from. */
async function tensors(ask: () => Promise<NamedTensors>, where: string): Promise<NamedTensors> {
  const given = await asked(ask, where);
  parse(namedTensors, given, where);
  return given;
}

function parse<T>(shape: z.ZodType<T>, given: unknown, where: string): T {
  const { data, error } = shape.safeParse(given);
  if (error === undefined) return data;
  const [issue] = error.issues;
  throw new UserError(`${where}: ${[...(issue?.path ?? []), issue?.message].join(": ")}`);
}

/** Reads all values at once, so that a device needs one round trip. */
async function checkStep(
  result: unknown,
  prototypes: () => tf.Tensor2D,
  { n, k, d }: { n: number; k: number; d: number },
  where: string,
): Promise<void> {
  const { responsibilities, touched } = parse(stepResult, result, where);
  checkShape(responsibilities, [n, k], `${where}: responsibilities`);
  if (touched !== "all" && touched.some((index) => index < 0 || index >= k)) {
    throw new UserError(`${where}: touched: an index is not below ${k}`);
  }
  const c = prototypes();
  checkShape(c, [k, d], `${where}: prototypes`);
  const [, squares] = await Promise.all([
    checkDistributions(responsibilities, `${where}: responsibilities`),
    numbers(() => tf.sum(tf.square(c), 1)),
  ]);
  checkLengths(squares, where);
}

/** Checks that each row of `x` consists of shares in [0, 1] that sum to 1. */
async function checkDistributions(x: tf.Tensor2D, what: string): Promise<void> {
  const [sums, least] = await Promise.all([numbers(() => tf.sum(x, 1)), numbers(() => tf.min(x, 1))]);
  checkOnes(sums, `${what}: a row must sum to 1, and those of row`);
  checkShares(least, what);
}

/** @throws UserError if the prototypes are not K rows of unit length */
export async function checkPrototypes(c: unknown, k: number, d: number, where: string): Promise<void> {
  checkShape(c, [k, d], `${where}: prototypes`);
  checkLengths(await numbers(() => tf.sum(tf.square(c), 1)), where);
}

function checkShape(tensor: unknown, shape: number[], what: string): asserts tensor is tf.Tensor2D {
  if (!(tensor instanceof tf.Tensor)) throw new UserError(`${what} must be a tensor`);
  if (tensor.isDisposed) throw new UserError(`${what}: the tensor is disposed`);
  if (tensor.shape.join() === shape.join()) return;
  throw new UserError(`${what}: ${tensor.shape.join(" x ")} where ${shape.join(" x ")} is needed`);
}

function checkLengths(squares: Float32Array, where: string): void {
  checkOnes(squares, `${where}: prototypes: a row must be of unit length, and the squares of row`);
}

/** Checks that sums are 1, which also finds sums that are not finite. */
function checkOnes(sums: Float32Array, what: string): void {
  const row = sums.findIndex((value) => !(Math.abs(value - 1) < TOLERANCE));
  if (row === -1) return;
  throw new UserError(`${what} ${row} sum to ${sums[row]}`);
}

/** Checks the smallest share of each row. If none is below 0 and the row sums to 1, none is above 1 either. */
function checkShares(least: Float32Array, what: string): void {
  const row = least.findIndex((value) => !(value > -TOLERANCE));
  if (row === -1) return;
  throw new UserError(`${what}: from 0 to 1 is needed, but row ${row} has ${least[row]}`);
}

async function numbers(of: () => tf.Tensor): Promise<Float32Array> {
  const tensor = tf.tidy(of);
  const values = await tensor.data<"float32">();
  tensor.dispose();
  return values;
}
