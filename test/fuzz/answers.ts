import { encode, type Frames } from "../../src/bridge/codec.ts";
import type { Message } from "../bridge/decode.ts";
import { MESSAGES } from "../golden/messages.ts";
import { D, K, Mutator } from "./mutator.ts";

/** The most answers to one request. */
const MOST = 40;
/** How many of a kind come in a flood. */
const FLOOD = 300;

/** Answers of a hostile server, a function of the seed: valid ones with one thing wrong, random bytes, and floods. */
export class Answers extends Mutator {
  /** What a server says to a request: wrong answers, and at last the right one, so that the client goes on. */
  to(request: Message): Frames[] {
    const right = this.right(request);
    if (!right) return [];
    const count = this.below(MOST);
    const answers = Array.from({ length: count }, () => this.wrong(request, right));
    if (this.below(100) === 0) answers.push(...Array<Frames>(FLOOD).fill(this.wrong(request, right)));
    return [...answers, right];
  }

  private wrong(request: Message, right: Frames): Frames {
    const kind = this.uniform();
    if (kind < 0.1) return Array.from({ length: 1 + this.below(4) }, () => this.bytes(this.below(200)));
    if (kind < 0.5) return this.oneWrong(right);
    const golden = this.golden(request);
    return kind < 0.6 ? golden : this.oneWrong(golden);
  }

  /** A message of any type, mostly for this client. */
  private golden({ header }: Message): Frames {
    const [message, tensors] = this.of(Object.values(MESSAGES));
    const own = "generation" in message && "generation" in header && this.below(10) > 0;
    return encode(own ? { ...message, generation: header.generation } : message, tensors);
  }

  private right({ header, tensors }: Message): Frames | undefined {
    if (!("generation" in header)) return undefined;
    const { generation } = header;
    const prototypes = this.matrix(K, D);
    const welcome = {
      version: 3,
      generation,
      config: "{}",
      commands: [],
      run: null,
      capabilities: ["sparse"],
    };
    switch (header.type) {
      case "hello":
        return encode({ type: "welcome", ...welcome, step: 0 }, { prototypes });
      case "load":
        return encode({ type: "welcome", ...welcome, step: header.step }, { prototypes });
      case "state":
        return encode({ type: "state", generation, step: 0 }, { prototypes });
      case "ping":
        return encode({ type: "pong", generation });
      case "embeddings": {
        const n = tensors.h?.shape[0] ?? 0;
        const head = { type: "targets", generation, step: header.step, scalars: { lr: 0.1 } } as const;
        return encode({ ...head, commands: [], run: null }, { rows: prototypes, targets: this.matrix(n, K) });
      }
      default:
        return undefined;
    }
  }

  private matrix(rows: number, columns: number) {
    const data = Float32Array.from({ length: rows * columns }, () => this.uniform() - 0.5);
    return { dtype: "float32" as const, shape: [rows, columns], data };
  }
}
