import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { encode as pack } from "@msgpack/msgpack";
import { encode } from "../../src/bridge/codec.ts";
import { WireError } from "../../src/bridge/errors.ts";
import { FRAME_BYTES } from "../../src/bridge/protocol.ts";
import { targetTensors } from "../../src/bridge/sparse.ts";
import { MESSAGES } from "../golden/messages.ts";
import { decode } from "./decode.ts";

const ping = { type: "ping", generation: "g" } as const;
const floats = (...values: number[]) => ({
  dtype: "float32" as const,
  shape: [values.length],
  data: Float32Array.from(values),
});

function golden(name: string): Uint8Array[] {
  const url = new URL(`../golden/${name}.json`, import.meta.url);
  const { frames }: { frames: string[] } = JSON.parse(readFileSync(url, "utf8"));
  return frames.map((frame) => new Uint8Array(Buffer.from(frame, "hex")));
}

/** A message of one tensor whose header says `info` and whose frames are `frames`. */
function message(info: object, ...frames: Uint8Array[]): Uint8Array[] {
  return [
    pack({ ...ping, tensors: [{ name: "t", dtype: "float32", shape: [2], frames: 1, ...info }] }),
    ...frames,
  ];
}

function refusal(frames: Uint8Array[]): WireError {
  try {
    decode(frames);
  } catch (error) {
    if (error instanceof WireError) return error;
    throw error;
  }
  assert.fail("the message was taken");
}

describe("the codec", () => {
  for (const [name, [header, tensors]] of Object.entries(MESSAGES)) {
    it(`reads the golden message "${name}" and writes it again to the same bytes`, () => {
      const { header: got, tensors: arrays } = decode(golden(name));
      const { tensors: _, ...rest } = got;
      assert.deepEqual(rest, header);
      assert.deepEqual(arrays, tensors);
      assert.deepEqual(
        encode(got, arrays).map((frame) => new Uint8Array(frame)),
        golden(name),
      );
    });
  }

  for (const file of readdirSync(new URL("../golden/version-2/", import.meta.url))) {
    const name = file.replace(/\.json$/, "");
    it(`reads the golden message "${name}" of version 2 and writes it again to the same bytes`, () => {
      const { header, tensors } = decode(golden(`version-2/${name}`));
      const again = encode(header, tensors).map((frame) => new Uint8Array(frame));
      assert.deepEqual(again, golden(`version-2/${name}`));
    });
  }

  it("reads a newer hello whose versions overlap its own, drops the fields that it does not know, and refuses other hellos", () => {
    const { header } = decode(golden("hello"));
    const newer = { ...header, version: 9, oldest: 3, tensors: [], novelty: true };
    assert.deepEqual(decode([pack(newer)]).header, { ...header, version: 9, oldest: 3, tensors: [] });
    assert.equal(refusal([pack({ ...newer, version: 3 })]).code, "shape");
    assert.equal(
      refusal([pack({ ...newer, oldest: 4 })]).message,
      "the other side speaks versions 4 to 9 of the protocol, this side versions 2 to 3: install the same mixhead on both",
    );
  });

  it("cuts a tensor into frames without copying it, and joins it again", () => {
    const data = Float32Array.from({ length: 600_000 }, (_, i) => i);
    const frames = encode(ping, { t: { dtype: "float32", shape: [600, 1000], data } });
    assert.deepEqual(
      frames.slice(1).map((frame) => frame.length),
      [FRAME_BYTES, FRAME_BYTES, 2_400_000 - 2 * FRAME_BYTES],
    );
    assert.ok(frames.slice(1).every((frame) => frame.buffer === data.buffer));
    assert.deepEqual(decode(frames).tensors.t?.data, data);
  });

  it("reads a single aligned frame in place, and an unaligned one by a copy", () => {
    const memory = new Uint8Array(new Float32Array([0, 1, 2]).buffer);
    const aligned = decode(message({}, memory.subarray(4))).tensors.t;
    assert.equal(aligned?.data.buffer, memory.buffer);
    const shifted = new Uint8Array(9);
    shifted.set(memory.subarray(4), 1);
    assert.deepEqual(decode(message({}, shifted.subarray(1))).tensors.t?.data, Float32Array.of(1, 2));
  });

  it("turns half precision into float32 exactly", () => {
    const half = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x03ff, 0x7bff, 0x7c00, 0xfc00, 0x8000);
    const exact = [1, -2, 2 ** -24, 1023 * 2 ** -24, 65504, Infinity, -Infinity, -0];
    const got = decode(message({ dtype: "float16", shape: [8] }, new Uint8Array(half.buffer))).tensors.t
      ?.data;
    assert.deepEqual(got, Float32Array.from(exact));
    const brain = new Uint8Array(Uint16Array.of(0x3f80, 0xc049, 0x7fc0).buffer);
    const wide = decode(message({ dtype: "bfloat16", shape: [3] }, brain)).tensors.t?.data;
    assert.deepEqual(wide, Float32Array.of(1, -3.140625, NaN));
  });

  it("refuses frames that differ from what the header says", () => {
    const eight = new Uint8Array(8);
    assert.match(refusal(message({}, new Uint8Array(7))).message, /8 bytes; 7 bytes came/);
    assert.match(refusal(message({ frames: 2 }, eight)).message, /1 of 2 frames/);
    assert.match(refusal(message({}, eight, eight)).message, /describes 1 frames, 2 came/);
    assert.match(refusal(message({ shape: [2 ** 40] }, eight)).message, /more than/);
    const twice = { name: "t", dtype: "uint8", shape: [8], frames: 1 };
    assert.match(refusal([pack({ ...ping, tensors: [twice, twice] }), eight, eight]).message, /comes twice/);
  });

  it("refuses a header that breaks the protocol, and says why", () => {
    assert.equal(refusal([]).code, "shape");
    assert.equal(refusal([Uint8Array.of(0xc1)]).code, "version");
    assert.equal(refusal([pack({ type: "hello", version: 1, novelty: true })]).code, "version");
    assert.equal(refusal([pack({ ...ping, tensors: [], more: 1 })]).code, "shape");
    assert.equal(refusal(message({ dtype: "float64" })).code, "dtype");
    assert.match(refusal([pack({ type: "ping", tensors: [] })]).message, /generation/);
  });

  it("sends targets sparse if that is smaller, and leaves out nothing but zeros", () => {
    const rows = Float32Array.from([0, 0.5, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, -0, 0, 0, 1, 0, 0, 0, 0]);
    const sparse = targetTensors(rows, 2, 10);
    assert.deepEqual(Object.keys(sparse), ["targets.offsets", "targets.columns", "targets.values"]);
    assert.deepEqual(sparse["targets.offsets"]?.data, Int32Array.of(0, 2, 4));
    assert.deepEqual(sparse["targets.columns"]?.data, Int32Array.of(1, 3, 2, 5));
    assert.deepEqual(sparse["targets.values"]?.data, Float32Array.of(0.5, 0.5, -0, 1));
    assert.deepEqual(Object.keys(targetTensors(Float32Array.of(1, 0, 0, 1), 2, 2)), ["targets"]);
  });

  it("refuses to write a tensor whose shape does not fit its numbers", () => {
    assert.throws(() => encode(ping, { t: { ...floats(1, 2, 3), shape: [2, 2] } }), /holds 3 numbers/);
  });
});
