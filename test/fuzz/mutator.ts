import { encode as pack, decode as unpack } from "@msgpack/msgpack";
import seedrandom from "seedrandom";
import type { Frames } from "../../src/bridge/codec.ts";

/** K and D of the mixture on the wire. */
export const K = 64;
export const D = 16;
/** The run of the client that has every right to be there. */
export const LEGITIMATE = "legitimate";

const VALUES: unknown[] = [
  ...[
    0,
    1,
    -1,
    2,
    7,
    K,
    D,
    2 ** 20,
    2 ** 31,
    2 ** 32,
    2 ** 40,
    2 ** 53,
    -(2 ** 31),
    0.5,
    1e300,
    NaN,
    Infinity,
  ],
  ...[
    "",
    "x",
    LEGITIMATE,
    "default",
    "../../out",
    "\u001b[2J",
    "x".repeat(3000),
    "__proto__",
    "constructor",
    "{",
    "{}",
  ],
  ...[true, false, [], {}, [[]], [{}], { a: { b: [] } }, [1, 2, 3], new Uint8Array(9), new Date(0)],
  Array.from({ length: 300 }, () => ({})),
  Array.from({ length: 2000 }, (_, i) => i),
  '{"plugin":{"components":1000000}}',
  '{"placement":"device"}',
  '{"seed":"x","targets":{"by":"plugin"}}',
];

/** Makes one thing wrong in a valid message; what, is a function of the seed. */
export class Mutator {
  protected readonly uniform: () => number;

  constructor(seed: number) {
    this.uniform = seedrandom.alea(`fuzz/${seed}`);
  }

  protected oneWrong([first = new Uint8Array(), ...rest]: Frames): Frames {
    const kind = this.below(6);
    if (kind === 0) return [first, ...rest.slice(1)];
    if (kind === 1) return [first, ...rest, this.bytes(this.below(40))];
    if (kind === 2) return [first.subarray(0, this.below(first.length)), ...rest];
    if (kind === 3) return [this.flip(first), ...rest];
    const fields: [string, unknown][] = Object.entries(Object(unpack(first)));
    const [name, old] = this.of(fields);
    if (name === "tensors" && Array.isArray(old) && old.length > 0) {
      const part = this.of(["name", "dtype", "shape", "frames", "more"]);
      return [this.write(fields, name, [{ ...old[0], [part]: this.of(VALUES) }, ...old.slice(1)]), ...rest];
    }
    if (kind === 4) return [pack(Object.fromEntries(fields.filter(([each]) => each !== name))), ...rest];
    return [this.write(fields, name, this.of(VALUES)), ...rest];
  }

  private write(fields: [string, unknown][], name: string, value: unknown): Uint8Array {
    return pack({ ...Object.fromEntries(fields), [name]: value });
  }

  private flip(bytes: Uint8Array): Uint8Array {
    const copy = bytes.slice();
    const at = this.below(copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << this.below(8));
    return copy;
  }

  protected bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  protected of<T>(items: readonly T[]): NonNullable<T> {
    const [item] = items.slice(this.below(items.length));
    return item ?? this.of(items);
  }

  protected below(n: number): number {
    return Math.floor(this.uniform() * n);
  }
}
