/** By tag, the number of bytes that follow it. A negative number: that many bytes follow and hold the length. */
const AFTER: Record<number, number> = {
  196: -1, // bin 8, 16, 32
  197: -2,
  198: -4,
  199: -1, // ext 8, 16, 32, each with a byte for the type
  200: -2,
  201: -4,
  202: 4, // float 32, 64
  203: 8,
  204: 1, // uint 8 to 64
  205: 2,
  206: 4,
  207: 8,
  208: 1, // int 8 to 64
  209: 2,
  210: 4,
  211: 8,
  212: 2, // fixext 1 to 16
  213: 3,
  214: 5,
  215: 9,
  216: 17,
  217: -1, // str 8, 16, 32
  218: -2,
  219: -4,
  220: 2, // array 16, 32: the items follow as separate values
  221: 4,
  222: 2, // map 16, 32
  223: 4,
};

/**
 * Whether msgpack bytes hold more than `most` values, at any depth. It reads tags and lengths only and stops after
 * `most` values, so a header of a million empty maps costs no more than one of `most`. Bytes that are not msgpack are
 * left to the parser.
 */
export function hasMoreEntries(bytes: Uint8Array, most: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  for (let entries = 0; at < bytes.length; entries++) {
    if (entries === most) return true;
    const tag = view.getUint8(at++);
    if (tag >= 0xa0 && tag < 0xc0) {
      at += tag - 0xa0; // a short string
      continue;
    }
    const after = AFTER[tag] ?? 0;
    if (after >= 0) {
      at += after;
      continue;
    }
    if (at - after > bytes.length) return false;
    const length = after === -1 ? view.getUint8(at) : after === -2 ? view.getUint16(at) : view.getUint32(at);
    at += length - after + (tag >= 199 && tag <= 201 ? 1 : 0);
  }
  return false;
}
