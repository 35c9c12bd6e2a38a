import { z } from "zod";

/**
 * The configuration of a run: every key, its default, what is allowed, what it means. The JSON
 * schema for editors (configs/schema.json) and the reference in docs/configuration.md are made from it.
 */

const fraction = z.number().min(0).max(1);
const positive = z.number().positive();
const steps = z.int().positive();
/** What float32 can square, divide by and add up; further out the mixture's numbers are not finite. */
const [LEAST, MOST] = [1e-9, 1e9];
const variance = z.number().min(LEAST).max(MOST);

/** A schedule over steps, in YAML: a number, or one of the named shapes; they nest. */
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

/** A schedule whose every value lies within bounds; `allowed` says them in words. */
function schedule(
  allowed: string,
  within: (value: number) => boolean,
): z.ZodType<ScheduleConfig, ScheduleConfig> {
  const value = z.number().refine(within, { error: allowed });
  const nested: z.ZodType<ScheduleConfig, ScheduleConfig> = z.lazy(() => whole);
  const between = z.strictObject({
    from: nested,
    to: nested,
    steps: steps.optional().describe("length in steps; train.steps where it is left out"),
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
          factor: positive,
        }),
      }),
      z.strictObject({ warmup: z.strictObject({ steps, from: value.optional(), to: nested }) }),
      z.strictObject({
        custom: z.string().min(1).describe("a function of an experiment file; only that file can give it"),
      }),
    ],
    {
      error: `${allowed}, or a schedule of such: {linear|cosine|exponential: {from, to, steps}}, {step: {from, at, factor}} or {warmup: {steps, from, to}}`,
    },
  );
  return whole.describe(`${allowed}, or a schedule over steps`);
}

/** The same, or "auto": what fits K, D, the memory and the batch. */
function autoOr(allowed: string, within: (value: number) => boolean) {
  return z
    .union([z.literal("auto"), schedule(allowed, within)], {
      error: `"auto", ${allowed}, or a schedule of such`,
    })
    .describe(`"auto", ${allowed}, or a schedule over steps`);
}

const nonNegative = schedule("a number, 0 or above", (value) => value >= 0);

const range = z
  .tuple([positive.max(1), positive.max(1)])
  .refine(([low, high]) => low <= high, { error: "the first is at most the second" });

export const data = z.strictObject({
  name: z.enum(["cifar10", "cifar10-lt", "fashion-mnist", "folder", "inat2018"]).default("cifar10"),
  train: z
    .union([z.literal("all"), steps], { error: '"all" or a number of images' })
    .default("all")
    .describe("training images: all, or the first so many"),
  test: z
    .union([z.literal("all"), steps], { error: '"all" or a number of images' })
    .default("all")
    .describe("test images: all, or the first so many"),
  heldOut: steps
    .optional()
    .describe(
      "evaluates on so many training images that the run does not train on, and leaves the test set alone: those after the first data.train; cifar10-lt: the last of all, before the tail is drawn",
    ),
  imbalance: z.number().min(1).default(100).describe("cifar10-lt: largest class over smallest"),
  path: z.string().optional().describe("folder, inat2018: where the images are"),
});

export const plugin = z.strictObject({
  kind: z
    .string()
    .default("online-gmm")
    .describe(
      "online-gmm, frozen, kmeans, sinkhorn, or a path to a .ts file that exports a plugin; custom:NAME in the records of experiment files",
    ),
  preset: z
    .enum(["paper"])
    .optional()
    .describe(
      "several settings by one word: diagonal covariance, estimated weights, annealing, no prior, nothing that brings components into use (docs/mixture.md)",
    ),
  options: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("of a plugin in a file, by the schema that the file exports (docs/mixture.md)"),
  components: steps.default(1024).describe("K, the number of prototypes"),
  mixtures: steps
    .default(1)
    .describe(
      "how many mixtures the components are parted into, in their order, such as one for each block of CARP",
    ),
  covariance: z
    .enum(["shared", "spherical", "diagonal"])
    .default("shared")
    .describe("one given variance, or estimated ones"),
  variance: variance.default(0.02).describe("covariance shared: tau at beta = 1"),
  floor: z
    .number()
    .nonnegative()
    .max(MOST)
    .default(1e-6)
    .describe("covariance spherical, diagonal: least variance"),
  weights: z.enum(["uniform", "estimated"]).default("uniform").describe("pi"),
  weightRate: fraction.default(0.05).describe("weights estimated: rho"),
  forgetting: z
    .strictObject({
      by: z
        .enum(["responsibility", "time", "nothing"])
        .default("responsibility")
        .describe("what makes a component forget"),
      retention: fraction.default(0.99).describe("lambda; the memory is 1 / (1 - lambda) samples"),
    })
    .prefault({}),
  annealing: schedule("a number above 0, at most 1", (beta) => beta > 0 && beta <= 1)
    .default(1)
    .describe("beta: a number above 0, at most 1, or a schedule"),
  init: z
    .strictObject({
      from: z
        .enum(["directions", "data"])
        .default("directions")
        .describe("random directions, or rows of the first batches"),
      count: positive.max(MOST).default(1).describe("pseudo-samples that a component starts with"),
      variance: z
        .union([z.literal("1/D"), variance], { error: '"1/D" or a number from 1e-9 to 1e9' })
        .default("1/D")
        .describe("covariance spherical, diagonal: where the variances start"),
    })
    .prefault({}),
  prior: z
    .strictObject({
      strength: autoOr("a number from 0 to 1e9", (strength) => strength >= 0 && strength <= MOST)
        .default("auto")
        .describe(
          "a, in pseudo-samples: the pull of every mean toward its start; 0: none; auto: what keeps components in use apart (docs/mixture.md)",
        ),
    })
    .prefault({}),
  use: z
    .strictObject({
      share: autoOr("a number from 0 to 1", (share) => share >= 0 && share <= 1)
        .default("auto")
        .describe(
          "of the components, how many are to be in use: while fewer are, idle ones start again at rows that nothing explains; 0: none does; auto: all, after 100 rows for each",
        ),
      idle: z
        .union([z.literal("auto"), steps], { error: '"auto" or a number of steps' })
        .default("auto")
        .describe("steps without a row after which a component is idle; auto: 25 K / rows of a batch"),
      rows: z.enum(["unexplained", "any"]).default("unexplained").describe("at which rows"),
    })
    .prefault({}),
  cutoff: fraction
    .default(0)
    .describe("responsibilities below it are 0, rows renormalised; 0: nothing is cut"),
  block: z
    .union([z.literal("auto"), steps], { error: '"auto" or a number of rows' })
    .default("auto")
    .describe(
      "rows of a batch that a step takes at once, which bounds its memory; auto: rows x K at most 2^24",
    ),
});

export const targets = z.strictObject({
  from: z
    .enum(["similarity", "responsibility", "plugin"])
    .default("similarity")
    .describe(
      "to the prototypes after the step, the E-step's own, or as a plugin in a file makes them, which temperature and balance leave alone",
    ),
  temperature: schedule("a number above 0", (temperature) => temperature > 0)
    .default(0.04)
    .describe(
      "of the teacher's similarities: a number or a schedule; with method swav 0.05, msn and pmsn 0.025, carp without balance 0.1",
    ),
  balance: z.enum(["sinkhorn", "center", "none"]).default("sinkhorn").describe("over the batch"),
  memory: z
    .int()
    .nonnegative()
    .default(0)
    .describe(
      "balance sinkhorn: rows of earlier batches that are balanced along with this one, for small batches; 0: none",
    ),
  by: z
    .enum(["rank", "plugin"])
    .default("rank")
    .describe("who makes targets of similarity; the others are the plugin's"),
});

const carp = z.strictObject({
  partition: z
    .enum(["step", "fixed"])
    .default("step")
    .describe("method carp: the blocks are drawn at every step, or are the prototypes in their order"),
  balance: z
    .enum(["all", "block"])
    .default("all")
    .describe(
      "method carp: targets are balanced over all prototypes and cut to the blocks, or in each block",
    ),
});

export const config = z.strictObject({
  seed: z.int().nonnegative().default(0).describe("of everything random"),
  device: z.enum(["auto", "cpu", "cuda"]).default("auto").describe("auto: cuda where there is one"),
  precision: z
    .enum(["float32", "bfloat16", "float16"])
    .default("float32")
    .describe("of the encoder; the mixture is float32"),
  method: z
    .enum(["dino", "ibot", "carp", "swav", "msn", "pmsn"])
    .default("dino")
    .describe("how views, prototypes and targets make the loss (docs/methods.md)"),
  prototypes: z.enum(["decoupled", "joint", "frozen"]).default("decoupled").describe("the arm"),
  data: data.prefault({}),
  encoder: z
    .strictObject({
      name: z
        .string()
        .min(1)
        .default("conv-small")
        .describe("conv-small, resnet18-32, vit-tiny-32, or any of timm's"),
    })
    .prefault({}),
  head: z
    .strictObject({
      hidden: steps.default(256).describe("width of the projection MLP"),
      dim: steps.default(64).describe("D, the embedding's dimension"),
      norm: z
        .enum(["batch", "none"])
        .default("batch")
        .describe("before the L2 norm: batch norm without affine, or none"),
    })
    .prefault({}),
  train: z
    .strictObject({
      steps: steps.default(5000).describe("length of every schedule"),
      stop: steps.optional().describe("where the run ends; at train.steps where it is left out"),
      batch: z.int().min(2).default(128).describe("images a step, of all ranks, drawn with replacement"),
      lr: positive
        .default(0.003)
        .describe("rate of AdamW; falls to 0 by a cosine; with method ibot 0.0003, swav 0.001"),
      warmup: z.int().nonnegative().default(60).describe("steps of linear warm-up of the rate"),
      weightDecay: nonNegative.default(0.04).describe("of AdamW: a number or a schedule"),
      clip: z.number().nonnegative().default(3).describe("gradient norm; 0: not clipped"),
      momentum: fraction.default(0.99).describe("of the teacher; rises to 1 by a cosine"),
      koleo: z
        .number()
        .nonnegative()
        .default(0)
        .describe("weight of KoLeo, which spreads a joint arm's prototypes; 0: none"),
      studentTemperature: positive.default(0.1).describe("of the student's similarities"),
      onlineProbe: z
        .boolean()
        .default(true)
        .describe("a linear classifier learns beside the encoder, and its accuracy is logged as online"),
      syncNorms: z
        .boolean()
        .default(true)
        .describe(
          "with several ranks: batch norms are over the batch of all of them, else over each rank's part",
        ),
      evaluateEvery: steps
        .default(250)
        .describe("steps between two evaluations; there is one at the start and one at the end"),
      checkpointEvery: steps.default(250).describe("steps between two checkpoints; there is one at the end"),
    })
    .prefault({}),
  views: z
    .strictObject({
      global: z.int().min(1).max(8).default(2).describe("large crops an image: teacher and student see them"),
      local: z.int().min(0).max(32).default(2).describe("small crops an image: the student alone sees them"),
      globalSize: steps.default(32).describe("pixels a side"),
      localSize: steps.default(16).describe("pixels a side"),
      globalScale: range.default([0.3, 1]).describe("share of the image that a large crop covers"),
      localScale: range.default([0.1, 0.4]).describe("share of the image that a small crop covers"),
    })
    .prefault({}),
  plugin: plugin.prefault({}),
  targets: targets.prefault({}),
  carp: carp.prefault({}),
  fit: z
    .strictObject({
      batch: steps.default(256).describe("rows a step of `mixhead fit`"),
      epochs: steps.default(1).describe("passes over the file"),
      measureEvery: steps.default(100).describe("steps between two measurements"),
    })
    .prefault({}),
  bridge: z
    .strictObject({
      endpoint: z.string().default("auto").describe("auto: an ipc socket in a private folder"),
      deadline: positive.default(60).describe("seconds that any wait may take"),
      deviceMemory: positive
        .optional()
        .describe("GiB that the mixture may take on the device; left out: all that is free"),
    })
    .prefault({}),
  placement: z
    .enum(["auto", "host", "device"])
    .default("auto")
    .describe(
      "where the mixture is computed: in Node, or by PyTorch where the embeddings are; auto: docs/device.md",
    ),
  backend: z
    .enum(["auto", "tensorflow", "wasm", "torch"])
    .default("auto")
    .describe("which tfjs backend computes the mixture in Node; torch: a Python of its own"),
});

export type Config = z.infer<typeof config>;
export type PluginConfig = z.infer<typeof plugin>;
export type TargetsConfig = z.infer<typeof targets>;
