import { z } from "zod";
import { METHOD_NAMES } from "./method.ts";
import { autoOr, schedule } from "./schedule.ts";

/**
 * The configuration of a run: every key with its default, allowed values and meaning. The JSON schema
 * for editors (configs/schema.json) and the reference in docs/configuration.md are generated from it.
 */

const fraction = z.number().min(0).max(1);
const positive = z.number().positive();
/** Node's timers end at 2^31 ms. */
const seconds = z.number().positive().max(1e6);
const steps = z.int().positive();
/** Limits within which float32 can square, divide and sum. Beyond them the mixture's numbers are not finite. */
const [LEAST, MOST] = [1e-9, 1e9];
const variance = z.number().min(LEAST).max(MOST);

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
      "evaluates on this many training images, which the run does not train on, instead of the test set: those after the first data.train; cifar10-lt: the last ones, before the tail is drawn",
    ),
  imbalance: z.number().min(1).default(100).describe("cifar10-lt: largest class over smallest"),
  path: z.string().optional().describe("folder, inat2018: the folder of the images"),
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
      "several settings under one name: diagonal covariance, estimated weights, annealing, no prior, no restart of idle components (docs/mixture.md)",
    ),
  options: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("options of a plugin in a file, by the schema that the file exports (docs/mixture.md)"),
  components: steps.default(1024).describe("K, the number of prototypes"),
  mixtures: steps
    .default(1)
    .describe(
      "number of mixtures into which the components are divided, in order, such as one for each block of CARP",
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
        .describe("the reason for which a component forgets"),
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
        .describe("covariance spherical, diagonal: initial variances"),
    })
    .prefault({}),
  prior: z
    .strictObject({
      strength: autoOr("a number from 0 to 1e9", (strength) => strength >= 0 && strength <= MOST)
        .default("auto")
        .describe(
          "a, in pseudo-samples: the pull of every mean toward its start; 0: none; auto: keeps components in use apart (docs/mixture.md)",
        ),
    })
    .prefault({}),
  use: z
    .strictObject({
      share: autoOr("a number from 0 to 1", (share) => share >= 0 && share <= 1)
        .default("auto")
        .describe(
          "share of components to keep in use: while fewer are, idle ones start again at rows that no component explains; 0: none does; auto: all, after 100 rows for each",
        ),
      idle: z
        .union([z.literal("auto"), steps], { error: '"auto" or a number of steps' })
        .default("auto")
        .describe("steps without a row after which a component is idle; auto: 25 K / rows of a batch"),
      rows: z
        .enum(["unexplained", "any"])
        .default("unexplained")
        .describe("rows at which idle components start again"),
    })
    .prefault({}),
  cutoff: fraction
    .default(0)
    .describe("responsibilities below it become 0, and rows are renormalised; 0: no cutoff"),
  block: z
    .union([z.literal("auto"), steps], { error: '"auto" or a number of rows' })
    .default("auto")
    .describe(
      "rows of a batch that a step processes at once, which bounds its memory; auto: rows x K at most 2^24",
    ),
});

const targets = z.strictObject({
  from: z
    .enum(["similarity", "responsibility", "plugin"])
    .default("similarity")
    .describe(
      "similarities to the prototypes after the step; responsibilities of the E-step; or targets of a plugin in a file, which temperature and balance do not change",
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
    .describe("which side makes targets of similarity; the plugin makes the others"),
});

const carp = z.strictObject({
  partition: z
    .enum(["step", "fixed"])
    .default("step")
    .describe("method carp: the blocks are drawn at every step, or are consecutive prototypes"),
  balance: z
    .enum(["all", "block"])
    .default("all")
    .describe(
      "method carp: targets are balanced over all prototypes and then cut to the blocks, or in each block",
    ),
});

export const config = z.strictObject({
  seed: z.int().nonnegative().default(0).describe("seed of all random numbers"),
  device: z.enum(["auto", "cpu", "cuda"]).default("auto").describe("auto: cuda if available"),
  precision: z
    .enum(["float32", "bfloat16", "float16"])
    .default("float32")
    .describe("of the encoder; the mixture is float32"),
  method: z
    .enum(METHOD_NAMES)
    .default("dino")
    .describe("how the loss is made from views, prototypes and targets (docs/methods.md)"),
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
      stop: steps.optional().describe("the step at which the run ends; default: train.steps"),
      batch: z.int().min(2).default(128).describe("images per step, of all ranks, drawn with replacement"),
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
      keepCheckpoints: steps
        .default(2)
        .describe(
          "how many of the newest checkpoints are kept; if one is damaged, the one before it is used",
        ),
      diskFull: z
        .enum(["end", "wait"])
        .default("end")
        .describe("if the disk is full or read-only, the run ends, or waits until it can be written to"),
    })
    .prefault({}),
  views: z
    .strictObject({
      global: z
        .int()
        .min(1)
        .max(8)
        .default(2)
        .describe("large crops per image: teacher and student see them"),
      local: z.int().min(0).max(32).default(2).describe("small crops per image: only the student sees them"),
      globalSize: steps.default(32).describe("pixels per side"),
      localSize: steps.default(16).describe("pixels per side"),
      globalScale: range.default([0.3, 1]).describe("share of the image that a large crop covers"),
      localScale: range.default([0.1, 0.4]).describe("share of the image that a small crop covers"),
    })
    .prefault({}),
  plugin: plugin.prefault({}),
  targets: targets.prefault({}),
  carp: carp.prefault({}),
  fit: z
    .strictObject({
      batch: steps.default(256).describe("rows per step of `mixhead fit`"),
      epochs: steps.default(1).describe("passes over the file"),
      measureEvery: steps.default(100).describe("steps between two measurements"),
    })
    .prefault({}),
  bridge: z
    .strictObject({
      endpoint: z.string().default("auto").describe("auto: an ipc socket in a private folder"),
      deadline: seconds.default(60).describe("seconds that any wait may take"),
      commandDeadline: seconds
        .default(3600)
        .describe("seconds that a worker may take for an evaluation, a probe or a checkpoint"),
      deviceMemory: positive
        .optional()
        .describe("GiB that the mixture may use on the device; default: all that is free"),
    })
    .prefault({}),
  placement: z
    .enum(["auto", "host", "device"])
    .default("auto")
    .describe(
      "where the mixture is computed: in Node, or by PyTorch on the device of the embeddings; auto: docs/device.md",
    ),
  backend: z
    .enum(["auto", "tensorflow", "wasm", "torch"])
    .default("auto")
    .describe("the tfjs backend that computes the mixture in Node; torch: a separate Python process"),
});

export type Config = z.infer<typeof config>;
export type PluginConfig = z.infer<typeof plugin>;
export type TargetsConfig = z.infer<typeof targets>;
