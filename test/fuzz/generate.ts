import { encode as pack, decode as unpack } from "@msgpack/msgpack";
import seedrandom from "seedrandom";
import { encode, type Frames, type Tensor } from "../../src/bridge/codec.ts";
import { MESSAGES } from "../golden/messages.ts";

/** K and D of the server that is attacked. */
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

/** Messages for a server, a function of the seed: valid ones with one thing wrong, random bytes, and floods. */
export class Generator {
  private readonly uniform: () => number;
  private readonly templates: Frames[];
  private readonly flood: Frames[] = [];
  private runs = 0;

  constructor(seed: number) {
    this.uniform = seedrandom.alea(`fuzz/${seed}`);
    this.templates = Object.values(MESSAGES).map(([header, tensors]) => encode(header, tensors));
  }

  /** The next message of a connection whose messages are of this generation. */
  next(generation: string): Frames {
    const flooding = this.flood.pop();
    if (flooding) return flooding;
    const kind = this.uniform();
    if (kind < 0.02) return this.beginFlood(generation);
    if (kind < 0.2) return Array.from({ length: 1 + this.below(4) }, () => this.bytes(this.below(200)));
    if (kind < 0.35) return this.hello(generation, this.uniform() < 0.2);
    if (kind < 0.6) return this.oneWrong(this.valid(generation));
    return this.oneWrong(this.of(this.templates));
  }

  /** What is not a mistake, from somebody who was let in: embeddings, requests, pings. */
  private valid(generation: string): Frames {
    const step = this.below(3);
    const n = 1 + this.below(4);
    const data = Float32Array.from({ length: n * D }, () => this.uniform() - 0.5);
    const h: Tensor = { dtype: "float32", shape: [n, D], data };
    switch (this.below(5)) {
      case 0:
        return encode({ type: "ping", generation });
      case 1:
        return encode({ type: "state", generation, step });
      case 2:
        return encode({ type: "load", generation, step }, { "plugin.sums": h });
      case 3:
        return encode({ type: "bye", generation, reason: "fuzz" });
      default:
        return encode({ type: "embeddings", generation, step, epoch: 0, scalars: {}, announced: 0 }, { h });
    }
  }

  private hello(generation: string, legitimate = false): Frames {
    const size = this.of([
      [K, D],
      [K, D],
      [0, 0],
      [1e6, 1024],
      [3, 5],
    ] as const);
    return encode({
      type: "hello",
      version: 3,
      run: legitimate ? LEGITIMATE : `fuzz ${this.runs++}`,
      mixture: "default",
      rank: this.below(20) === 0 ? 1 : 0,
      world: this.of([1, 1, 1, 1, 2, 4096, 2 ** 40]),
      components: size[0],
      dim: size[1],
      generation,
      start: "",
      config: this.of(["", "", "", '{"targets":{}}', "{", '{"plugin":{"cutoff":7}}']),
      executor: this.below(2),
      device: "",
    });
  }

  /** A hundred of a kind: hellos, runs, frames, entries, requests. */
  private beginFlood(generation: string): Frames {
    const kind = this.below(5);
    const many = Array.from({ length: 300 }, () => ({}));
    for (let i = 0; i < 100; i++) {
      if (kind === 0) this.flood.push(this.hello(generation));
      else if (kind === 1) this.flood.push(this.hello(`${generation}${i}`));
      else if (kind === 2) this.flood.push(Array.from({ length: 60 }, () => this.bytes(this.below(30))));
      else if (kind === 3) this.flood.push([pack({ type: "ping", generation, tensors: many })]);
      else this.flood.push(encode({ type: "state", generation, step: 0 }));
    }
    return encode({ type: "ping", generation });
  }

  private oneWrong([first = new Uint8Array(), ...rest]: Frames): Frames {
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

  private bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  private of<T>(items: readonly T[]): NonNullable<T> {
    const [item] = items.slice(this.below(items.length));
    return item ?? this.of(items);
  }

  private below(n: number): number {
    return Math.floor(this.uniform() * n);
  }
}
