import { type FileHandle, open } from "node:fs/promises";
import { UserError } from "../errors.ts";
import { fileError } from "./errors.ts";
import { type Format, formats, readExactly, readNumbers, sizeOf } from "./numbers.ts";

/** An array of a file, row-major, converted to float32. `format`: the file's own number format. */
export interface FileArray {
  shape: number[];
  data: Float32Array<ArrayBuffer>;
  format: Format;
}

const byDescr: Record<string, Format> = {
  "<f4": "float32",
  "<f8": "float64",
  "<f2": "float16",
  "|u1": "uint8",
  "<i4": "int32",
  "<i8": "int64",
};

const magic = Buffer.from("\x93NUMPY", "latin1");

/**
 * Reads a .npy file (versions 1 to 3) of little-endian float16, float32, float64, uint8, int32 or
 * int64 in C order, converted to float32; rows of a matrix are scaled as `readNumbers` documents. Anything else is a
 * UserError that names the file.
 */
export async function readNpy(path: string): Promise<FileArray> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "r");
    const { size } = await file.stat();
    const header = await readHeader(file, size, path);
    const { format, shape, offset } = header;
    const expected = offset + sizeOf(shape) * formats[format].bytes;
    if (size < expected) {
      throw new UserError(`${path} is truncated: its header promises ${expected} bytes, it has ${size}`);
    }
    const width = shape.length === 2 ? shape[1] : undefined;
    return { shape, format, data: await readNumbers(file, offset, format, sizeOf(shape), width) };
  } catch (error) {
    throw fileError("read", path, error);
  } finally {
    await file?.close();
  }
}

async function readHeader(file: FileHandle, size: number, path: string) {
  const start = Buffer.alloc(12);
  if (size < start.length) throw new UserError(`${path} is not a .npy file: it has ${size} bytes`);
  await readExactly(file, start, 0);
  if (!start.subarray(0, magic.length).equals(magic)) {
    if (start.toString("latin1").startsWith("version http")) {
      throw new UserError(`${path} is a Git LFS pointer, not the file itself: run git lfs pull`);
    }
    throw new UserError(`${path} is not a .npy file: it does not begin with \\x93NUMPY`);
  }
  const version = start.readUInt8(magic.length);
  const prefix = version === 1 ? 10 : 12;
  const length = version === 1 ? start.readUInt16LE(8) : start.readUInt32LE(8);
  const offset = prefix + length;
  if (version < 1 || version > 3)
    throw new UserError(`${path} has .npy version ${version}; 1 to 3 can be read`);
  if (offset > size) throw new UserError(`${path} is truncated: it ends within its header`);
  const text = Buffer.alloc(length);
  await readExactly(file, text, prefix);
  return { ...parseDictionary(text.toString("utf8"), path), offset };
}

/** The header is a Python dictionary literal, as numpy's format specification lays down. */
function parseDictionary(text: string, path: string): { format: Format; shape: number[] } {
  const descr = /'descr'\s*:\s*('[^']*'|\[)/.exec(text)?.[1]?.replaceAll("'", "");
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1];
  const tuple = /'shape'\s*:\s*\(([\d\s,]*)\)/.exec(text)?.[1];
  if (descr === undefined || fortran === undefined || tuple === undefined) {
    throw new UserError(`${path} has a .npy header that cannot be read`);
  }
  const format = byDescr[descr];
  if (format === undefined) {
    const allowed = Object.keys(byDescr).join(", ");
    throw new UserError(`${path} holds numbers of type ${descr}; one of ${allowed} is needed`);
  }
  const shape = tuple
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map(Number);
  if (!Number.isSafeInteger(sizeOf(shape))) throw new UserError(`${path} has an impossible shape (${tuple})`);
  if (fortran === "True" && shape.length > 1) {
    throw new UserError(`${path} is in Fortran order; save it with numpy.ascontiguousarray`);
  }
  return { format, shape };
}
