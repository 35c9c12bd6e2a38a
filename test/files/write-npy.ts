import { writeAtomic } from "../../src/files/atomic.ts";
import { bytesOf, sizeOf } from "../../src/files/numbers.ts";

const magic = Buffer.from("\x93NUMPY", "latin1");

/** Writes float32 numbers, row-major, as a .npy file, whole or not at all. */
export async function writeNpy(path: string, shape: readonly number[], data: Float32Array): Promise<void> {
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(`${data.length} numbers do not fill the shape ${shape.join(" x ")}`);
  }
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${tuple}), }`;
  const prefix = magic.length + 4;
  const padded = Math.ceil((prefix + dictionary.length + 1) / 64) * 64 - prefix;
  const head = Buffer.alloc(prefix);
  magic.copy(head);
  head.writeUInt8(1, magic.length);
  head.writeUInt16LE(padded, magic.length + 2);
  await writeAtomic(path, [head, `${dictionary.padEnd(padded - 1)}\n`, bytesOf(data)]);
}
