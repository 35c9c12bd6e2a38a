import { z } from "zod";

const steps = z.int().positive();

/** A schedule over steps in YAML: a number, or one of the named shapes, which can be nested. */
export type ScheduleConfig =
  | number
  | { linear: BetweenConfig }
  | { cosine: BetweenConfig }
  | { exponential: BetweenConfig }
  | { step: { from: number; at: number[]; factor: number } }
  | { warmup: { steps: number; from?: number | undefined; to: ScheduleConfig } }
  | { custom: string };
export interface BetweenConfig {
  from: ScheduleConfig;
  to: ScheduleConfig;
  steps?: number | undefined;
}

/** The schema of a schedule whose values all have to satisfy `within`. `allowed` describes the allowed values. */
export function schedule(
  allowed: string,
  within: (value: number) => boolean,
): z.ZodType<ScheduleConfig, ScheduleConfig> {
  const value = z.number().refine(within, { error: allowed });
  const nested: z.ZodType<ScheduleConfig, ScheduleConfig> = z.lazy(() => whole);
  const between = z.strictObject({
    from: nested,
    to: nested,
    steps: steps.optional().describe("length in steps; default: train.steps"),
  });
  const whole: z.ZodType<ScheduleConfig, ScheduleConfig> = z.union(
    [
      value,
      z.strictObject({ linear: between }),
      z.strictObject({ cosine: between }),
      z.strictObject({ exponential: between }),
      z.strictObject({
        step: z.strictObject({
          from: value,
          at: z
            .array(z.int().nonnegative())
            .min(1)
            .describe("steps at which the value is multiplied by factor"),
          factor: z.number().positive(),
        }),
      }),
      z.strictObject({ warmup: z.strictObject({ steps, from: value.optional(), to: nested }) }),
      z.strictObject({
        custom: z.string().min(1).describe("a function of an experiment file; only that file can define it"),
      }),
    ],
    {
      error: `${allowed}, or a schedule of such: {linear|cosine|exponential: {from, to, steps}}, {step: {from, at, factor}} or {warmup: {steps, from, to}}`,
    },
  );
  return whole.describe(`${allowed}, or a schedule over steps`);
}

/** The same, or "auto": a value that fits K, D, the memory and the batch. */
export function autoOr(allowed: string, within: (value: number) => boolean) {
  return z
    .union([z.literal("auto"), schedule(allowed, within)], {
      error: `"auto", ${allowed}, or a schedule of such`,
    })
    .describe(`"auto", ${allowed}, or a schedule over steps`);
}
