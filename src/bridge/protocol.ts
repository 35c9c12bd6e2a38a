import { z } from "zod";

/**
 * The wire: every message is `[header, frame, frame, ...]`. The header is msgpack, one of the
 * objects below; tensors follow as raw little-endian frames of at most FRAME_BYTES each, described
 * in the header's `tensors`. python_env/mixhead/bridge/protocol.py mirrors this file, and
 * test/golden/ holds messages that both sides must read and write alike.
 */
export const PROTOCOL_VERSION = 1;

/** A 64 MB tensor took 178 ms as one frame and 55 ms in frames of 1 MiB. */
export const FRAME_BYTES = 1 << 20;

const count = z.int().nonnegative();
const size = z.int().positive();

export const tensorInfo = z.strictObject({
  name: z.string(),
  dtype: z.enum(["float32", "float16", "bfloat16", "int32", "uint8"]),
  shape: z.array(count),
  frames: count,
});

/** Values of the clock by name, such as lr, momentum, teacherTemperature. NaN is legal on the wire. */
const scalars = z.record(
  z.string(),
  z.custom<number>((value) => typeof value === "number", { error: "a number" }),
);
const tensors = z.array(tensorInfo);

/** What the plugin asks of a rank after a step (targets) or before the first one (welcome). */
export const commandName = z.enum(["evaluate", "probe", "checkpoint", "stop"]);

export const rejectCode = z.enum([
  "version", // another protocol version
  "shape", // K or D differ from the mixture's
  "rank", // rank outside the world, or a world of another size
  "busy", // another process holds this rank, or its world is still coming apart
  "unknown", // no such run or mixture here
  "state", // a loaded state does not fit
]);

export const errorCode = z.enum([
  "order", // a step that is neither the next one nor the last one again
  "shape", // N, D or the number of bytes do not fit
  "dtype",
  "row", // a row that is not finite or all zero: `row` says which, counted from 0 in this rank's rows
  "plugin", // the plugin itself failed
  "peer", // another rank of this run was lost
]);

export const messages = {
  /** rank: I am here. `generation` is drawn anew at every start of a rank, so that stale messages can be told. */
  hello: z.strictObject({
    type: z.literal("hello"),
    version: z.int(),
    run: z.string(),
    mixture: z.string(),
    rank: count,
    world: size,
    components: count, // K; 0: whatever the plugin has
    dim: count, // D; 0: whatever the plugin has
    generation: z.string(),
    start: z.string(), // hash of the starting rows that the rank holds, "" where it holds none
    config: z.string(), // what it asks of the mixture, as JSON; "": whatever the plugin has
    tensors, // "prototypes" (K, D): starting rows, where the rank holds them
  }),
  /** plugin: the run's configuration as JSON, and the prototypes to start from. */
  welcome: z.strictObject({
    type: z.literal("welcome"),
    version: z.int(),
    generation: z.string(),
    step: count, // the next step that is expected
    config: z.string(),
    commands: z.array(commandName),
    tensors, // "prototypes" (K, D), where the plugin holds them
  }),
  reject: z.strictObject({
    type: z.literal("reject"),
    code: rejectCode,
    message: z.string(),
    tensors,
  }),
  /** rank: the teacher's rows of this step; no tensor where the rank only wants the clock (joint arms). */
  embeddings: z.strictObject({
    type: z.literal("embeddings"),
    generation: z.string(),
    step: count,
    epoch: count,
    scalars, // what the rank measured in the step before, such as loss
    tensors, // "h" (N, D) float32, float16 or bfloat16
  }),
  /** plugin: the answer to a step. The same request again gets the same bytes. */
  targets: z.strictObject({
    type: z.literal("targets"),
    generation: z.string(),
    step: count,
    scalars,
    commands: z.array(commandName), // carried out in order after the optimizer's step, each answered by a result
    tensors, // "rows" (R, D) with "indices" (R,) int32, or "rows" (K, D) alone for all; "targets" (N, K), or
    // sparse "targets.offsets" (N + 1,) int32, "targets.columns" (nnz,) int32, "targets.values" (nnz,)
  }),
  /** plugin: this batch changed nothing, and why. */
  error: z.strictObject({
    type: z.literal("error"),
    generation: z.string(),
    step: count,
    code: errorCode,
    row: z.int(), // -1 where no row is to blame
    message: z.string(),
    tensors,
  }),
  /** rank: give me the mixture's whole state (no tensors); plugin: here it is. */
  state: z.strictObject({
    type: z.literal("state"),
    generation: z.string(),
    step: count,
    tensors,
  }),
  /** rank: go on from this state; the plugin answers with welcome or reject. */
  load: z.strictObject({
    type: z.literal("load"),
    generation: z.string(),
    step: count,
    tensors,
  }),
  ping: z.strictObject({ type: z.literal("ping"), generation: z.string(), tensors }),
  pong: z.strictObject({ type: z.literal("pong"), generation: z.string(), tensors }),
  /** rank: what a command gave. */
  result: z.strictObject({
    type: z.literal("result"),
    generation: z.string(),
    command: commandName,
    step: count, // steps taken so far
    scalars,
    text: z.record(z.string(), z.string()),
    tensors,
  }),
  /** either: I leave, and why. An empty `reason` is a regular end. */
  bye: z.strictObject({
    type: z.literal("bye"),
    generation: z.string(),
    reason: z.string(),
    tensors,
  }),
} as const;

export const messageSchema = z.discriminatedUnion("type", [
  messages.hello,
  messages.welcome,
  messages.reject,
  messages.embeddings,
  messages.targets,
  messages.error,
  messages.state,
  messages.load,
  messages.ping,
  messages.pong,
  messages.result,
  messages.bye,
]);

export type Header = z.infer<typeof messageSchema>;
export type MessageType = Header["type"];
export type Command = z.infer<typeof commandName>;
export type RejectCode = z.infer<typeof rejectCode>;
export type ErrorCode = z.infer<typeof errorCode>;
export type TensorInfo = z.infer<typeof tensorInfo>;
export type Dtype = TensorInfo["dtype"];
