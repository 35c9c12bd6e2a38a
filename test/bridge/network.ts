import { Dealer, Router } from "zeromq";
import { decodeHeader, type Frames } from "../../src/bridge/codec.ts";
import type { Header } from "../../src/bridge/protocol.ts";

/** What becomes of a message: it is handed on so often, after so many milliseconds; those behind it wait, too. */
export interface Fate {
  copies: number;
  after?: number;
}

export type Plan = (header: Header, frames: Frames) => Fate;

/** A network between ranks and a server on which messages are lost, come twice or come late. */
export class Network {
  private readonly front = new Router({ linger: 0 });
  private readonly backs = new Map<string, Dealer>();
  /** What becomes of each message, either way. */
  plan: Plan = () => ({ copies: 1 });

  private constructor(private readonly server: string) {}

  static async before(server: string): Promise<Network> {
    const network = new Network(server);
    await network.front.bind("tcp://127.0.0.1:*");
    void network.up();
    return network;
  }

  get endpoint(): string {
    return this.front.lastEndpoint ?? "";
  }

  /** From now on the first `count` messages of a type have this fate, and all others arrive once. */
  spoil(type: Header["type"], fate: Fate, count = 1): void {
    let left = count;
    this.plan = (header) => (header.type === type && left-- > 0 ? fate : { copies: 1 });
  }

  /** Sends a message of one's own to every rank. */
  async tell(message: Frames): Promise<void> {
    for (const rank of this.backs.keys()) await this.front.send([Buffer.from(rank, "hex"), ...message]);
  }

  close(): void {
    this.front.close();
    for (const back of this.backs.values()) back.close();
  }

  private async up(): Promise<void> {
    for await (const [rank, ...frames] of this.front) {
      if (rank) await this.pass(frames, (message) => this.back(rank).send(message));
    }
  }

  private back(rank: Buffer): Dealer {
    const key = rank.toString("hex");
    const known = this.backs.get(key);
    if (known !== undefined) return known;
    const back = new Dealer({ linger: 0 });
    back.connect(this.server);
    this.backs.set(key, back);
    void this.down(rank, back);
    return back;
  }

  private async down(rank: Buffer, back: Dealer): Promise<void> {
    for await (const frames of back)
      await this.pass(frames, (message) => this.front.send([rank, ...message]));
  }

  private async pass(frames: Frames, send: (frames: Frames) => Promise<void>): Promise<void> {
    const { copies, after = 0 } = this.plan(decodeHeader(frames), frames);
    if (after > 0) await new Promise((resolve) => setTimeout(resolve, after));
    try {
      for (let copy = 0; copy < copies; copy++) await send(frames);
    } catch {} // its rank or its server is gone
  }
}
