import { type FileHandle, open } from "node:fs/promises";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { writeAtomic } from "./atomic.ts";
import { fileError } from "./errors.ts";
import { bytesOf, type Format, formats, readExactly, readNumbers, sizeOf } from "./numbers.ts";
import type { NamedTensors } from "./tensors.ts";

export interface SafetensorsFile {
  tensors: NamedTensors;
  metadata: Record<string, string>;
}

const byDtype: Record<string, Format> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  I64: "int64",
  I32: "int32",
  U8: "uint8",
};

/** The format's own limit on the header. */
const MAX_HEADER_BYTES = 100_000_000;

const entry = z.strictObject({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});
const headerSchema = z
  .looseObject({ __metadata__: z.record(z.string(), z.string()).default({}) })
  .transform(({ __metadata__: metadata, ...entries }) => ({ metadata, entries }))
  .pipe(z.object({ metadata: z.record(z.string(), z.string()), entries: z.record(z.string(), entry) }));

type Entry = z.infer<typeof entry>;

/**
 * Reads the tensors of a .safetensors file that `wanted` selects (default: all),
 * converted to float32. UserError if the file is damaged or if a wanted tensor has a type that cannot be read
 * (F64, F32, F16, BF16, I64, I32, U8 can).
 */
export async function readSafetensors(
  path: string,
  wanted: (name: string) => boolean = () => true,
): Promise<SafetensorsFile> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "r");
    const { size } = await file.stat();
    const { entries, metadata, offset } = await readHeader(file, size, path);
    checkLayout(entries, size - offset, path);
    const tensors: NamedTensors = {};
    for (const [name, { dtype, shape, data_offsets }] of Object.entries(entries)) {
      if (!wanted(name)) continue;
      const format = formatOf(dtype, name, shape, data_offsets, path);
      tensors[name] = {
        shape,
        data: await readNumbers(file, offset + data_offsets[0], format, sizeOf(shape)),
      };
    }
    return { tensors, metadata };
  } catch (error) {
    throw fileError("read", path, error);
  } finally {
    await file?.close();
  }
}

/** Writes float32 tensors as a .safetensors file, whole or not at all; names in the order given. */
export async function writeSafetensors(
  path: string,
  tensors: NamedTensors,
  metadata: Record<string, string> = {},
): Promise<void> {
  const header: Record<string, Entry | Record<string, string>> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let end = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    if (data.length !== sizeOf(shape)) {
      throw new RangeError(`${name}: ${data.length} numbers do not fill the shape ${shape.join(" x ")}`);
    }
    header[name] = { dtype: "F32", shape: [...shape], data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padding = Buffer.alloc((8 - (json.length % 8)) % 8, " ");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length + padding.length));
  await writeAtomic(path, [
    length,
    json,
    padding,
    ...Object.values(tensors).map(({ data }) => bytesOf(data)),
  ]);
}

async function readHeader(file: FileHandle, size: number, path: string) {
  if (size < 8) throw new UserError(`${path} is not a .safetensors file: it has ${size} bytes`);
  const start = Buffer.alloc(8);
  await readExactly(file, start, 0);
  const length = Number(start.readBigUInt64LE());
  if (length > MAX_HEADER_BYTES) throw new UserError(`${path} is not a .safetensors file: no header`);
  const offset = 8 + length;
  if (offset > size) throw new UserError(`${path} is truncated: it ends within its header`);
  const text = Buffer.alloc(length);
  await readExactly(file, text, 8);
  return { ...parseHeader(text.toString("utf8"), path), offset };
}

function parseHeader(text: string, path: string) {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new UserError(`${path} is not a .safetensors file: its header is not JSON`);
  }
  const parsed = headerSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new UserError(`${path} has a bad header: ${issue?.path.join(".")}: ${issue?.message}`);
}

/** Tensors must lie end to end and fill the file: no overlap, no hole, nothing missing at the end. */
function checkLayout(entries: Record<string, Entry>, bytes: number, path: string): void {
  const byOffset = Object.entries(entries).sort(
    ([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1],
  );
  let at = 0;
  for (const [name, { data_offsets }] of byOffset) {
    const [begin, end] = data_offsets;
    if (begin !== at || end < begin) {
      throw new UserError(
        `${path} has a bad header: ${name} is at bytes ${begin} to ${end}, expected from ${at}`,
      );
    }
    at = end;
  }
  if (at > bytes)
    throw new UserError(`${path} is truncated: its header promises ${at} bytes, it has ${bytes}`);
  if (at < bytes) throw new UserError(`${path} is damaged: ${bytes - at} bytes follow its last tensor`);
}

function formatOf(
  dtype: string,
  name: string,
  shape: number[],
  offsets: [number, number],
  path: string,
): Format {
  const format = byDtype[dtype];
  if (format === undefined) {
    const allowed = Object.keys(byDtype).join(", ");
    throw new UserError(`${path}: ${name} is of type ${dtype}; one of ${allowed} is needed`);
  }
  const bytes = offsets[1] - offsets[0];
  if (sizeOf(shape) * formats[format].bytes !== bytes) {
    throw new UserError(
      `${path}: ${name} has ${bytes} bytes, which do not fill its shape ${shape.join(" x ")}`,
    );
  }
  return format;
}
