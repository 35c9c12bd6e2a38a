/** float16 (IEEE 754 binary16) to float32: exact, including NaN and infinities. */
export function fromFloat16(bits: number): number {
  table ??= float16Table();
  return table[bits] ?? 0;
}

/** bfloat16, the upper half of a float32, to float32: exact. */
export function fromBfloat16(bits: number): number {
  word[0] = bits << 16;
  return float[0] ?? 0;
}

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

let table: Float32Array | undefined;

/** The value of each of the 65,536 bit patterns. */
function float16Table(): Float32Array {
  return Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const sign = bits >> 15 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}
