import { encode as pack, decode as unpack } from "@msgpack/msgpack";
import { z } from "zod";
import { sentence } from "../errors.ts";
import { fromBfloat16, fromFloat16 } from "../files/halves.ts";
import { commonVersion, rangeOf, said, VERSIONS } from "./dialect.ts";
import { hasMoreEntries } from "./entries.ts";
import { WireError } from "./errors.ts";
import { LIMITS, short } from "./limits.ts";
import { type Dtype, FRAME_BYTES, type Header, hello, messageSchema, tensorInfo } from "./protocol.ts";

/** A tensor on this side of the wire, row-major. Half precision is converted to float32 on arrival. */
export type Tensor =
  | { dtype: "float32"; shape: number[]; data: Float32Array }
  | { dtype: "int32"; shape: number[]; data: Int32Array }
  | { dtype: "uint8"; shape: number[]; data: Uint8Array }
  | { dtype: "bool"; shape: number[]; data: Uint8Array }; // bytes of 0 and 1

/** Tensors by name, in the order of the message. */
export type Tensors = Record<string, Tensor>;

/** A header to be written; the codec adds `tensors`. */
export type Outgoing = Header extends infer H ? (H extends Header ? Omit<H, "tensors"> : never) : never;

export type Frames = Uint8Array[];

const ITEM_BYTES: Record<Dtype, number> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int32: 4,
  uint8: 1,
  bool: 1,
};

/**
 * Encodes a message. Tensor frames are views of the tensors' own memory: do not change that memory until the peer
 * has answered.
 */
export function encode(header: Outgoing, tensors: Tensors = {}): Frames {
  const frames: Frames = [];
  const infos = Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (bytes.length !== product(shape) * ITEM_BYTES[dtype]) {
      throw new RangeError(
        `tensor "${name}" holds ${data.length} numbers, its shape says ${shape.join(" x ")}`,
      );
    }
    for (let at = 0; at < bytes.length; at += FRAME_BYTES) frames.push(bytes.subarray(at, at + FRAME_BYTES));
    return { name, dtype, shape, frames: Math.ceil(bytes.length / FRAME_BYTES) };
  });
  return [pack({ ...header, tensors: infos }), ...frames];
}

/**
 * Decodes the header alone, so that an error in a tensor can be answered with step and rank. A header that is too
 * large is refused before it is parsed, and the first mistake ends the check: refusing a message costs no more than
 * accepting one. Throws WireError.
 *
 * `mostBytes`: the maximum length of a header.
 */
export function decodeHeader(frames: Frames, mostBytes: number = LIMITS.headerBytes): Header {
  const first = frames[0];
  if (!first || first.length === 0 || first.length > mostBytes) {
    throw new WireError("shape", `a header has 1 to ${mostBytes} bytes, not ${first?.length ?? 0}`);
  }
  if (frames.length > LIMITS.frames) {
    throw new WireError("shape", `a message has at most ${LIMITS.frames} frames, not ${frames.length}`);
  }
  const raw = readVersion(unpackHeader(first));
  checkTensorList(raw);
  const parsed = messageSchema.safeParse(raw);
  if (!parsed.success) throw invalid(parsed.error);
  return parsed.data;
}

function unpackHeader(bytes: Uint8Array): unknown {
  if (hasMoreEntries(bytes, LIMITS.entries)) {
    throw new WireError("shape", `a header has at most ${LIMITS.entries} entries`);
  }
  try {
    return unpack(bytes);
  } catch (cause) {
    throw new WireError("version", short(`the header is not msgpack: ${sentence(cause)}`));
  }
}

/**
 * Checks the version before the rest of the header. Unknown fields of a hello that is newer than this side are
 * removed.
 */
function readVersion(raw: unknown): unknown {
  const { success, data } = said.safeParse(raw);
  if (!success) return raw;
  if (commonVersion(data) === undefined) {
    const [theirs, ours] = [rangeOf(data), rangeOf({ version: VERSIONS.newest, oldest: VERSIONS.oldest })];
    throw new WireError(
      "version",
      `the other side speaks ${theirs} of the protocol, this side ${ours}: install the same mixhead on both`,
    );
  }
  if (data.type !== "hello" || data.version <= VERSIONS.newest) return raw;
  return Object.fromEntries(Object.entries(data).filter(([name]) => name in hello.shape));
}

/** Refuses a list of tensors that is too long, or at its first invalid entry. */
function checkTensorList(raw: unknown): void {
  const list = withTensors.safeParse(raw);
  if (!list.success) return; // the full schema reports it
  const { tensors } = list.data;
  if (tensors.length > LIMITS.tensors) {
    throw new WireError("shape", `a message has at most ${LIMITS.tensors} tensors, not ${tensors.length}`);
  }
  for (const info of tensors) {
    const { success, error } = tensorInfo.safeParse(info);
    if (!success) throw invalid(error);
  }
}

/** The first mistake, in a short sentence. */
function invalid({ issues: [first] }: z.ZodError): WireError {
  const path = first?.path.join(".") ?? "";
  const at = path === "" ? "" : ` at ${short(path, 100)}`;
  const code = first?.path.at(-1) === "dtype" ? "dtype" : "shape";
  return new WireError(code, short(`not a valid message${at}: ${first?.message ?? "unknown reason"}`));
}

const withTensors = z.looseObject({ tensors: z.array(z.unknown()) });

/** Decodes the tensors that a header describes. Throws WireError if the frames do not match it. */
export function decodeTensors(header: Header, frames: Frames): Tensors {
  const tensors: Tensors = {};
  let at = 1;
  for (const { name, dtype, shape, frames: count } of header.tensors) {
    const bytes = product(shape) * ITEM_BYTES[dtype];
    const what = `tensor "${short(name, 100)}" of ${header.type}`;
    if (Object.hasOwn(tensors, name)) throw new WireError("shape", `${what} comes twice`);
    if (bytes > LIMITS.messageBytes)
      throw new WireError("shape", `${what} has more than ${LIMITS.messageBytes} bytes`);
    const parts = frames.slice(at, at + count);
    const got = parts.reduce((sum, part) => sum + part.length, 0);
    if (parts.length !== count || got !== bytes) {
      throw new WireError(
        "shape",
        `${what} is ${shape.join(" x ")} ${dtype}, ${bytes} bytes; ${got} bytes came in ${parts.length} of ${count} frames`,
      );
    }
    tensors[name] = toTensor(dtype, shape, join(parts, bytes, ITEM_BYTES[dtype]));
    at += count;
  }
  if (at !== frames.length) {
    throw new WireError("shape", `${header.type} describes ${at - 1} frames, ${frames.length - 1} came`);
  }
  return tensors;
}

function toTensor(dtype: Dtype, shape: number[], bytes: Uint8Array): Tensor {
  const { buffer, byteOffset } = bytes;
  const length = product(shape);
  switch (dtype) {
    case "float32":
      return { dtype, shape, data: new Float32Array(buffer, byteOffset, length) };
    case "float16":
      return {
        dtype: "float32",
        shape,
        data: widen(new Uint16Array(buffer, byteOffset, length), fromFloat16),
      };
    case "bfloat16":
      return {
        dtype: "float32",
        shape,
        data: widen(new Uint16Array(buffer, byteOffset, length), fromBfloat16),
      };
    case "int32":
      return { dtype, shape, data: new Int32Array(buffer, byteOffset, length) };
    case "uint8":
    case "bool":
      return { dtype, shape, data: new Uint8Array(buffer, byteOffset, length) };
  }
}

function widen(bits: Uint16Array, toFloat32: (bits: number) => number): Float32Array {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = toFloat32(bits[i] ?? 0);
  return values;
}

/** The parts as one block of memory, aligned for its items; copied only if necessary. */
function join(parts: Frames, bytes: number, align: number): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only && only.byteOffset % align === 0) return only;
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function product(shape: number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
