import { z } from "zod";
import { capabilities } from "./dialect.ts";
import { LIMITS } from "./limits.ts";

/**
 * The wire format: every message is `[header, frame, frame, ...]`. The header is msgpack, one of the
 * objects below; tensors follow as raw little-endian frames of at most FRAME_BYTES each, described
 * in the header's `tensors`. python_env/mixhead/bridge/protocol.py mirrors this file, and both
 * sides must read and write the messages in test/golden/ byte for byte.
 */

/** A 64 MB tensor took 178 ms as one frame and 55 ms in frames of 1 MiB. */
export const FRAME_BYTES = 1 << 20;

const count = z.int().nonnegative();
const size = z.int().positive();
const text = z.string().max(LIMITS.text);

/** Checked by hand, so that a list of a million sizes is refused by its length. */
function isShape(value: unknown): boolean {
  return Array.isArray(value) && value.length <= LIMITS.dimensions && value.every(isCount);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

export const tensorInfo = z.strictObject({
  name: text.refine((name) => name !== "__proto__"),
  dtype: z.enum(["float32", "float16", "bfloat16", "int32", "uint8", "bool"]),
  shape: z.custom<number[]>(isShape, {
    error: `up to ${LIMITS.dimensions} whole numbers`,
  }),
  frames: count,
});

/** Values of the clock by name, such as lr, momentum, teacherTemperature. NaN is legal on the wire. */
const scalars = z.custom<Record<string, number>>((value) => isMapOf("number", value), {
  error: `a map of up to ${LIMITS.scalars} numbers`,
});
const texts = z.custom<Record<string, string>>((value) => isMapOf("string", value), {
  error: `a map of up to ${LIMITS.scalars} texts`,
});

function isMapOf(type: "number" | "string", value: unknown): boolean {
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return false;
  const values = Object.values(value);
  return values.length <= LIMITS.scalars && values.every((one) => typeof one === type);
}

const tensors = z.array(tensorInfo);

/** The handle of a tensor on a rank's device; -1: none. */
const handle = z.int().min(-1);
const handles = z.array(count);

/**
 * One run of a program by a rank's executor; executor-run.ts says what each field means. Its
 * tensors are "definition" (uint8), if the program is new to this connection, and "upload.HANDLE".
 */
const runInfo = z.strictObject({
  seq: size,
  program: z.string().regex(/^([0-9a-f]{16})?$/, "16 hex digits"),
  inputs: handles,
  base: count,
  free: handles,
  reads: handles,
  literals: z.instanceof(Uint8Array), // float64, little-endian: exact for float32 and int32, including -0 and NaN
  rows: handle,
  metrics: handle,
  prototypes: handle,
  targets: handle,
  forget: z.boolean(),
});
const run = runInfo.nullable();

/** What a rank has to do after a step (targets) or before the first one (welcome). */
const commandName = z.enum(["evaluate", "probe", "checkpoint", "stop"]);

const rejectCode = z.enum([
  "version", // another protocol version
  "shape", // K or D differ from the mixture's
  "rank", // rank outside the world, or a world of another size
  "busy", // another process holds this rank, or the other ranks of its world have not left yet
  "unknown", // no such run or mixture here
  "state", // a loaded state does not fit
  "secret", // the run began with a secret that this client does not have
]);

const errorCode = z.enum([
  "order", // the step is neither the next one nor a repeat of the last one
  "shape", // N, D or the number of bytes is wrong
  "dtype",
  "row", // a row is not finite or is all zero: `row` says which, counted from 0 in this rank's rows
  "plugin", // the plugin itself failed
  "peer", // another rank of this run was lost
]);

/** Why a rank could not execute a run. */
const failureCode = z.enum([
  "kernel", // not on the executor's list
  "program", // malformed, of another version, or with an unknown hash
  "shape", // an output differs from its declaration
  "handle", // an input does not exist, or an output exists already
  "memory",
  "failed", // a kernel raised an exception
]);

/** rank: joins. A rank draws a new `generation` at every start, so that stale messages can be recognised. */
export const hello = z.strictObject({
  type: z.literal("hello"),
  version: z.int(), // the newest that the rank speaks
  run: text,
  mixture: text,
  rank: count,
  world: size.max(LIMITS.world),
  components: count, // K; 0: whatever the plugin has
  dim: count, // D; 0: whatever the plugin has
  generation: text,
  start: text, // hash of the starting rows that the rank holds; "" if it holds none
  config: z.string(), // the settings that it asks for, as JSON; "": whatever the plugin has
  executor: count, // version of the kernels that it can run; 0: it can run none
  device: text, // the device of the executor: "cpu", "cuda:0 NVIDIA H100"; "" without one
  // Since version 3:
  oldest: z.int().optional(), // version that the rank speaks; if left out, the same as `version`
  secret: text.optional(), // of the run; "" or left out: the run has none
  capabilities: capabilities.optional(), // names of what the rank can do (dialect.ts)
  tensors, // "prototypes" (K, D): starting rows, if the rank holds them
});

export const messageSchema = z.discriminatedUnion("type", [
  hello,
  /** plugin: the run's configuration as JSON, and the prototypes to start from. */
  z.strictObject({
    type: z.literal("welcome"),
    version: z.int(), // the highest that both sides speak
    generation: text,
    step: count, // the next step that the plugin expects
    config: z.string(),
    commands: z.array(commandName),
    run, // makes the starting prototypes, if the mixture is on the rank's device
    capabilities: capabilities.optional(), // since version 3: those of the rank's that the plugin uses
    tensors, // "prototypes" (K, D), if the plugin holds them; the run's
  }),
  z.strictObject({
    type: z.literal("reject"),
    code: rejectCode,
    message: z.string(),
    tensors,
  }),
  /**
   * rank: the teacher's rows of this step, or the number of rows that stay on its device; neither if it needs only
   * the clock (joint arms).
   */
  z.strictObject({
    type: z.literal("embeddings"),
    generation: text,
    step: count,
    epoch: count,
    scalars, // what the rank measured in the previous step, such as loss
    announced: count, // N, if the rows of all ranks are on the rank's device; 0: none
    tensors, // "h" (N, D) float32, float16 or bfloat16; "metrics" (M,) float32, of the run before
  }),
  /** plugin: the answer to a step. A repeated request gets the same bytes. */
  z.strictObject({
    type: z.literal("targets"),
    generation: text,
    step: count,
    scalars,
    commands: z.array(commandName), // carried out in order after the optimizer's step, each answered by a result
    run, // computes the step, if the mixture is on the rank's device
    tensors, // "rows" (R, D) with "indices" (R,) int32, or all "rows" (K, D) alone; "targets" (N, K), or
    // sparse "targets.offsets" (N + 1,) int32, "targets.columns" (nnz,) int32, "targets.values" (nnz,); the run's
  }),
  /** plugin: execute this run now, during a step or between steps. */
  z.strictObject({
    type: z.literal("execute"),
    generation: text,
    run: runInfo,
    tensors, // the run's
  }),
  /** rank: the values that a run read. Not sent if it read none. */
  z.strictObject({
    type: z.literal("values"),
    generation: text,
    seq: size,
    tensors, // "0", "1", ... in the order of the run's `reads`
  }),
  /** rank: a run failed and changed nothing. */
  z.strictObject({
    type: z.literal("failed"),
    generation: text,
    seq: size,
    at: z.int().min(-1), // the instruction that failed; -1: none of them
    code: failureCode,
    message: z.string(),
    tensors,
  }),
  /** plugin: this batch was refused and changed nothing. */
  z.strictObject({
    type: z.literal("error"),
    generation: text,
    step: count,
    code: errorCode,
    row: z.int(), // the row at fault; -1: none
    message: z.string(),
    tensors,
  }),
  /** rank: asks for the mixture's whole state (no tensors); plugin: sends it. */
  z.strictObject({
    type: z.literal("state"),
    generation: text,
    step: count,
    tensors,
  }),
  /** rank: asks to continue from this state; the plugin answers with welcome or reject. */
  z.strictObject({
    type: z.literal("load"),
    generation: text,
    step: count,
    tensors,
  }),
  z.strictObject({ type: z.literal("ping"), generation: text, tensors }),
  z.strictObject({ type: z.literal("pong"), generation: text, tensors }),
  /** rank: the result of a command. */
  z.strictObject({
    type: z.literal("result"),
    generation: text,
    command: commandName,
    step: count, // steps taken so far
    scalars,
    text: texts,
    tensors,
  }),
  /** either: leaves. An empty `reason` is a regular end. */
  z.strictObject({
    type: z.literal("bye"),
    generation: text,
    reason: z.string(),
    tensors,
  }),
]);

export type Header = z.infer<typeof messageSchema>;
export type Command = z.infer<typeof commandName>;
export type RejectCode = z.infer<typeof rejectCode>;
export type ErrorCode = z.infer<typeof errorCode>;
export type FailureCode = z.infer<typeof failureCode>;
export type RunInfo = z.infer<typeof runInfo>;
type TensorInfo = z.infer<typeof tensorInfo>;
export type Dtype = TensorInfo["dtype"];
