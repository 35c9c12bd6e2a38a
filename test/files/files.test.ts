import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../src/errors.ts";
import { readNpy } from "../../src/files/npy.ts";
import { readUnitRows, unitRows } from "../../src/files/rows.ts";
import { readSafetensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { runPython } from "../reference/python.ts";
import { writeNpy } from "./write-npy.ts";

const exact = [0, 1, 2.5, 3, 200, 7.25];
const whole = [0, 1, 2, 3, 200, 7];

describe("files", function () {
  this.timeout(60_000);
  let folder: string;
  const at = (name: string) => join(folder, name);
  const refuses = (work: Promise<unknown>, words: RegExp) =>
    assert.rejects(work, (error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, words);
      assert.ok(error.message.includes(folder), "the sentence names the file");
      assert.ok(!error.message.includes("\n"));
      return true;
    });

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-files-"));
    await runPython("files.py", "write", folder);
  });
  after(() => rm(folder, { recursive: true }));

  it("reads every number type that numpy writes, as float32", async () => {
    for (const type of ["f4", "f8", "f2"]) {
      assert.deepEqual([...(await readNpy(at(`${type}.npy`))).data], exact, type);
    }
    for (const type of ["u1", "i4", "i8"]) {
      assert.deepEqual([...(await readNpy(at(`${type}.npy`))).data], whole, type);
    }
    assert.deepEqual((await readNpy(at("f4.npy"))).shape, [2, 3]);
    assert.equal((await readNpy(at("i8.npy"))).format, "int64");
    assert.deepEqual((await readNpy(at("scalar.npy"))).shape, []);
    assert.deepEqual((await readNpy(at("vector.npy"))).shape, [5]);
    assert.deepEqual((await readNpy(at("empty.npy"))).shape, [0, 3]);
  });

  it("reads half precision whole: subnormal, largest, infinite, not a number", async () => {
    const { data } = await readNpy(at("half.npy"));
    const expected = [2 ** -24, -Math.fround(6.103515625e-5), 65504, Infinity, -Infinity, Number.NaN];
    assert.equal(data[0], expected[0]);
    assert.ok(Math.abs((data[1] ?? 0) - (expected[1] ?? 0)) < 1e-7);
    assert.deepEqual([...data.slice(2)], expected.slice(2));
  });

  it("refuses a file that it cannot read in one sentence that names it", async () => {
    await refuses(readNpy(at("fortran.npy")), /Fortran order/);
    await refuses(readNpy(at("complex.npy")), /type <c8; one of <f4/);
    await refuses(readNpy(at("big-endian.npy")), /type >f4/);
    await refuses(readNpy(at("record.npy")), /numbers of type/);
    await refuses(readNpy(at("missing.npy")), /no such file/);
    await refuses(readNpy(folder), /it is a folder/);
    const good = await readFile(at("f4.npy"));
    for (const length of [0, 5, 20, good.length - 1]) {
      await writeFile(at("cut.npy"), good.subarray(0, length));
      await refuses(readNpy(at("cut.npy")), /truncated|not a \.npy file/);
    }
    await writeFile(at("text.npy"), "prototypes of last night");
    await refuses(readNpy(at("text.npy")), /not a \.npy file/);
  });

  it("reads every tensor type of safetensors, as float32", async () => {
    const { tensors, metadata } = await readSafetensors(at("all.safetensors"));
    for (const type of ["F64", "F32", "F16"]) assert.deepEqual([...(tensors[type]?.data ?? [])], exact, type);
    for (const type of ["I64", "I32", "U8"]) assert.deepEqual([...(tensors[type]?.data ?? [])], whole, type);
    assert.deepEqual([...(tensors.BF16?.data ?? [])], exact);
    assert.deepEqual(tensors.scalar, { shape: [], data: new Float32Array([2.5]) });
    assert.deepEqual(tensors.empty, { shape: [0, 3], data: new Float32Array() });
    assert.deepEqual(metadata, { "made by": "Python" });
  });

  it("reads only the wanted tensors, so that others may be of any type", async () => {
    await refuses(readSafetensors(at("bool.safetensors")), /flags is of type BOOL/);
    const { tensors } = await readSafetensors(at("bool.safetensors"), (name) => name === "kept");
    assert.deepEqual(tensors, { kept: { shape: [2], data: new Float32Array([1, 1]) } });
  });

  it("refuses a damaged safetensors file in one sentence", async () => {
    const good = await readFile(at("all.safetensors"));
    for (const length of [0, 7, 8, 100, good.length - 1]) {
      await writeFile(at("cut.safetensors"), good.subarray(0, length));
      await refuses(readSafetensors(at("cut.safetensors")), /truncated|not a \.safetensors file/);
    }
    const save = (header: unknown, bytes: number) => {
      const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(json.length));
      return writeFile(at("bad.safetensors"), Buffer.concat([length, json, Buffer.alloc(bytes)]));
    };
    const f32 = (shape: unknown, data_offsets: unknown) => ({ dtype: "F32", shape, data_offsets });
    const cases: [unknown, number, RegExp][] = [
      ["{", 0, /not JSON/],
      [{ a: f32([2], [0, 8]) }, 4, /truncated/],
      [{ a: f32([2], [0, 8]) }, 12, /4 bytes follow/],
      [{ a: f32([3], [0, 8]) }, 8, /do not fill its shape 3/],
      [{ a: f32([2], [0, 8]), b: f32([2], [4, 12]) }, 12, /expected from 8/],
      [{ a: f32([1], [4, 8]) }, 8, /expected from 0/],
      [{ a: f32([-1], [0, 4]) }, 4, /bad header: .*shape/],
      [{ a: f32([1], [0, 1e300]) }, 4, /bad header/],
      [{ a: { dtype: "F32" } }, 4, /bad header/],
      [{ __metadata__: { step: 3 } }, 0, /bad header/],
      [[1, 2], 0, /bad header/],
    ];
    for (const [header, bytes, words] of cases) {
      await save(header, bytes);
      await refuses(readSafetensors(at("bad.safetensors")), words);
    }
  });

  it("writes what numpy and safetensors read back", async () => {
    const data = new Float32Array(exact);
    await writeNpy(at("ours.npy"), [2, 3], data);
    const tensors = { b: { shape: [3, 2], data }, a: { shape: [1], data: data.subarray(2, 3) } };
    await writeSafetensors(at("ours.safetensors"), tensors, { step: "3" });
    assert.deepEqual(JSON.parse(await runPython("files.py", "read", folder)), {
      npy: { dtype: "float32", values: [exact.slice(0, 3), exact.slice(3)] },
      tensors: { a: [2.5], b: [exact.slice(0, 2), exact.slice(2, 4), exact.slice(4)] },
      shapes: { a: [1], b: [3, 2] },
      metadata: { step: "3" },
    });
    assert.deepEqual((await readSafetensors(at("ours.safetensors"))).tensors.b, tensors.b);
    assert.deepEqual((await readNpy(at("ours.npy"))).data, data);
  });

  it("leaves the old file, and nothing beside it, if a write fails", async () => {
    await writeNpy(at("kept/kept.npy"), [1], new Float32Array([1]));
    const bytes = await readFile(at("kept/kept.npy"));
    await assert.rejects(writeNpy(at("kept/kept.npy"), [2], new Float32Array(1)), RangeError);
    await refuses(writeNpy(at("kept/kept.npy/below.npy"), [1], new Float32Array(1)), /not a folder/);
    await writeFile(at("kept/blocked"), "");
    await refuses(writeNpy(at("kept"), [1], new Float32Array(1)), /is a folder/);
    assert.deepEqual(await readFile(at("kept/kept.npy")), bytes);
    assert.deepEqual((await readdir(at("kept"))).sort(), ["blocked", "kept.npy"]);
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.includes(".tmp")),
      [],
    );
  });

  it("keeps the direction of float64 rows that float32 cannot hold, and the bits of others", async () => {
    const rows = (await readUnitRows(at("far.npy"))).data;
    for (let at = 0; at < rows.length; at += 3) {
      const [x = 0, y, z = 0] = rows.subarray(at, at + 3);
      assert.ok(Math.abs(x - 0.6) < 1e-7 && y === 0 && Math.abs(z + 0.8) < 1e-7, `row ${at / 3}`);
    }
    assert.deepEqual([...(await readNpy(at("far.npy"))).data.subarray(0, 3)], [0.75, 0, -1]);
    const { data } = await readNpy(at("many.npy"));
    const changed = [699_049, 699_050, 699_051].flatMap((row) => [...data.subarray(3 * row, 3 * row + 3)]);
    assert.deepEqual(changed, [1, 1, 1, 0, 1, 0, 1, 1, 1]);
    await refuses(readUnitRows(at("infinite.npy")), /row 1 is not finite/);
    await refuses(readUnitRows(at("nan.npy")), /row 1 is not finite/);
    await refuses(readUnitRows(at("zero.npy")), /row 1 is all zero/);
  });

  it("normalises input rows and says which row cannot be", async () => {
    await writeNpy(at("rows.npy"), [3, 2], new Float32Array([3, 4, 0, -1e30, 1e-30, 0]));
    const { rows, dim, data } = await readUnitRows(at("rows.npy"));
    assert.deepEqual([rows, dim, ...data], [3, 2, ...new Float32Array([0.6, 0.8, 0, -1, 1, 0])]);
    const bad: [number, RegExp][] = [
      [Number.NaN, /row 1 is not finite/],
      [Number.NEGATIVE_INFINITY, /row 1 is not finite/],
      [0, /row 1 is all zero/],
    ];
    for (const [value, words] of bad) {
      const values = new Float32Array([3, 4, value, 0]);
      assert.throws(() => unitRows(values, 2, `${folder}/x.npy`), words);
      assert.deepEqual([...values.slice(0, 2)], [3, 4], "nothing has changed");
    }
    for (const name of ["vector", "empty", "scalar"])
      await refuses(readUnitRows(at(`${name}.npy`)), /rows x dimensions are needed/);
  });
});
