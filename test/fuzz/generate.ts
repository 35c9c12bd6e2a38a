import { encode as pack } from "@msgpack/msgpack";
import { encode, type Frames, type Tensor } from "../../src/bridge/codec.ts";
import { MESSAGES } from "../golden/messages.ts";
import { D, K, LEGITIMATE, Mutator } from "./mutator.ts";

/** Messages for a server, a function of the seed: valid ones with one thing wrong, random bytes, and floods. */
export class Generator extends Mutator {
  private readonly templates: Frames[];
  private readonly flood: Frames[] = [];
  private runs = 0;

  constructor(seed: number) {
    super(seed);
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

  /** Valid messages of an admitted rank: embeddings, requests, pings. */
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
}
