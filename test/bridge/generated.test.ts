import assert from "node:assert/strict";
import { encode as pack, decode as unpack } from "@msgpack/msgpack";
import * as fc from "fast-check";
import { encode, type Frames, type Outgoing, type Tensors } from "../../src/bridge/codec.ts";
import { hasMoreEntries } from "../../src/bridge/entries.ts";
import { WireError } from "../../src/bridge/errors.ts";
import { MESSAGES } from "../golden/messages.ts";
import { decode } from "./decode.ts";

/** A name that may travel: @msgpack/msgpack refuses this one, which would be no key but a prototype. */
const word = fc.string({ maxLength: 9 }).filter((name) => name !== "__proto__");
/** MessagePack writes whole numbers as integers, which have no -0. */
const number = fc.double().map((value) => value || (Number.isNaN(value) ? value : 0));
const scalars = fc.dictionary(word, number, { maxKeys: 5 });
const generation = fc.string({ maxLength: 20 });
const step = fc.nat(2 ** 31);

const headers: fc.Arbitrary<Outgoing> = fc.oneof(
  fc.record({
    type: fc.constant("embeddings" as const),
    generation,
    step,
    epoch: fc.nat(),
    scalars,
    announced: fc.nat(),
  }),
  fc.record({
    type: fc.constant("error" as const),
    generation,
    step,
    code: fc.constantFrom("order", "shape", "dtype", "row", "plugin", "peer"),
    row: fc.integer(),
    message: fc.string(),
  }),
  fc.record({
    type: fc.constant("result" as const),
    generation,
    command: fc.constantFrom("evaluate", "probe", "checkpoint", "stop"),
    step,
    scalars,
    text: fc.dictionary(word, fc.string(), { maxKeys: 5 }),
  }),
  fc.record({ type: fc.constant("bye" as const), generation, reason: fc.string() }),
);

const shapes = fc.array(fc.nat(4), { maxLength: 3 });
const tensor = fc.tuple(fc.constantFrom("float32", "int32", "uint8"), shapes).map(([dtype, shape]) => {
  const n = shape.reduce((all, size) => all * size, 1);
  const numbers = Array.from({ length: n }, (_, i) => i - 3);
  if (dtype === "float32") return { dtype, shape, data: Float32Array.from(numbers) } as const;
  if (dtype === "int32") return { dtype, shape, data: Int32Array.from(numbers) } as const;
  return { dtype, shape, data: Uint8Array.from(numbers) } as const;
});
const tensors: fc.Arbitrary<Tensors> = fc.dictionary(word, tensor, { maxKeys: 4 });

/** Reads it: whatever the bytes are, nothing but a WireError of a bounded sentence comes of it. */
function read(frames: Frames): void {
  try {
    decode(frames);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    assert.ok(error.message.length < 1000);
  }
}

describe("generated messages", () => {
  it("are read as they were written", () => {
    fc.assert(
      fc.property(headers, tensors, (header, sent) => {
        const { header: got, tensors: arrays } = decode(encode(header, sent));
        const { tensors: _, ...rest } = got;
        assert.deepEqual({ ...rest }, plain(header));
        assert.deepEqual(arrays, plain(sent));
      }),
      { numRuns: 500, seed: 0 },
    );
  });

  it("give a message or a WireError, whatever the bytes are", () => {
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 4 }), read), {
      numRuns: 2000,
    });
  });

  it("give a message or a WireError if one field is anything", () => {
    const golden = Object.values(MESSAGES).map(([header, sent]) => encode(header, sent));
    const info = fc.constantFrom("name", "dtype", "shape", "frames");
    fc.assert(
      fc.property(fc.constantFrom(...golden), fc.nat(), fc.anything(), info, (frames, at, value, part) => {
        const [first = new Uint8Array(), ...rest] = frames;
        const fields: [string, unknown][] = Object.entries(Object(unpack(first)));
        const [name = "", old] = fields[at % fields.length] ?? [];
        const inner = name === "tensors" && Array.isArray(old) && old.length > 0;
        const wrong = inner ? [{ ...old[0], [part]: value }, ...old.slice(1)] : value;
        let bytes: Uint8Array;
        try {
          bytes = pack(Object.fromEntries([...fields, [name, wrong]]));
        } catch {
          return; // it cannot be written at all
        }
        read([bytes, ...rest]);
      }),
      { numRuns: 2000, seed: 0 },
    );
  });

  it("give a message or a WireError if one byte differs or the end is missing", () => {
    const golden = Object.values(MESSAGES).map(([header, sent]) => encode(header, sent));
    fc.assert(
      fc.property(
        fc.constantFrom(...golden),
        fc.nat(),
        fc.nat(255),
        fc.boolean(),
        (frames, at, byte, cut) => {
          const [first = new Uint8Array(), ...rest] = frames;
          const place = at % first.length;
          const changed = cut ? first.slice(0, place) : first.map((old, i) => (i === place ? byte : old));
          read([changed, ...rest]);
        },
      ),
      { numRuns: 2000, seed: 0 },
    );
  });

  it("are counted at every depth", () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: "medium" }), (value) => {
        const n = count(value);
        assert.equal(hasMoreEntries(pack(value), n), false);
        assert.equal(hasMoreEntries(pack(value), n - 1), true);
      }),
      { numRuns: 1000, seed: 0 },
    );
  });
});

/** Values in a value, itself and keys among them. */
function count(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  if (Array.isArray(value)) return value.reduce((sum: number, each) => sum + count(each), 1);
  return Object.values(value).reduce((sum: number, each) => sum + 1 + count(each), 1);
}

/** Without the null prototypes that fast-check gives. */
function plain<T>(value: T): T {
  return structuredClone(value);
}
