import { Dealer } from "zeromq";
import { encode, type Frames, type Outgoing, type Tensors } from "../../src/bridge/codec.ts";
import { decode, type Message } from "./decode.ts";

const HELLO = { type: "hello", version: 3, run: "test", mixture: "default", rank: 0, world: 1 } as const;

/** A rank that says whatever a test wants, right or wrong. */
export class RawRank {
  private readonly socket;

  /** `holds`: how many messages are taken from the connection before somebody asks for them. */
  constructor(
    endpoint: string,
    readonly generation: string,
    holds = 1000,
  ) {
    this.socket = new Dealer({ linger: 0, receiveTimeout: 5000, receiveHighWaterMark: holds });
    this.socket.connect(endpoint);
  }

  send(header: Outgoing, tensors: Tensors = {}): Promise<void> {
    return this.sendFrames(encode(header, tensors));
  }

  sendFrames(frames: Frames): Promise<void> {
    return this.socket.send(frames);
  }

  hello(more: Partial<Extract<Outgoing, { type: "hello" }>> = {}): Promise<void> {
    const { generation } = this;
    const rest = { components: 0, dim: 0, generation, start: "", config: "", executor: 0, device: "" };
    return this.send({ ...HELLO, ...rest, ...more });
  }

  embeddings(step: number, rows: number[][], more: Partial<Extract<Outgoing, { type: "embeddings" }>> = {}) {
    const { generation } = this;
    const data = Float32Array.from(rows.flat());
    const shape = [rows.length, rows[0]?.length ?? 0];
    const header = {
      type: "embeddings",
      generation,
      step,
      epoch: 0,
      scalars: {},
      announced: 0,
      ...more,
    } as const;
    return this.send(header, { h: { dtype: "float32", shape, data } });
  }

  /** The next message, as bytes. */
  async frames(): Promise<Frames> {
    return this.socket.receive();
  }

  /** The next message that is not a ping. */
  async receive(): Promise<Message> {
    const message = decode(await this.frames());
    return message.header.type === "ping" ? this.receive() : message;
  }

  close(): void {
    this.socket.close();
  }
}
