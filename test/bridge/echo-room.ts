import type { Command } from "../../src/bridge/protocol.ts";
import type { Answer, Batch, Hello, RankResult, Room, Welcome } from "../../src/bridge/room.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";

/** A room whose target rows are the rows that it was sent, so that a test sees who got what. */
export class EchoRoom implements Room {
  readonly batches: Batch[] = [];
  readonly results: RankResult[] = [];
  /** What the bridge told of ranks that went, in order. */
  readonly gone: string[] = [];
  saved: NamedTensors = { count: { shape: [2], data: Float32Array.of(3, 4) } };
  next = 0;
  /** What a rank is told to do as it joins, and after each step. */
  firstCommands: Command[] = [];
  commands: Command[] = [];
  /** Replaces the answer to a step. */
  onStep: ((batch: Batch) => Promise<Answer>) | undefined;
  onWelcome: ((hello: Hello) => void) | undefined;
  /** What taking a result waits for. */
  onResult: (() => Promise<void>) | undefined;

  constructor(
    readonly dim = 2,
    readonly components = dim,
  ) {}

  welcome(hello: Hello): Welcome | Promise<Welcome> {
    this.onWelcome?.(hello);
    return {
      step: this.next,
      config: '{"seed":0}',
      commands: this.firstCommands,
      prototypes: {
        data: new Float32Array(this.components * this.dim).fill(1),
        n: this.components,
        d: this.dim,
      },
    };
  }

  async step(batch: Batch): Promise<Answer> {
    const answer = this.onStep ? await this.onStep(batch) : this.echo(batch);
    this.batches.push(batch);
    this.next = batch.step + 1;
    return answer;
  }

  private echo({ rows, step }: Batch): Answer {
    const scalars = { step, momentum: 0.5 };
    const { commands } = this;
    if (!rows) return { scalars, commands };
    return { scalars, commands, targets: { n: rows.n, k: rows.d, data: rows.data.slice() } };
  }

  async result(result: RankResult): Promise<void> {
    await this.onResult?.();
    this.results.push(result);
  }

  async state(): Promise<NamedTensors> {
    return this.saved;
  }

  async load(step: number, state: NamedTensors): Promise<void> {
    this.next = step;
    this.saved = state;
  }

  lost(rank: number, why: string, owed?: string): void {
    this.gone.push(`rank ${rank} lost: ${why}${owed === undefined ? "" : `; ${owed} is missing`}`);
  }

  left(rank: number, reason: string): void {
    this.gone.push(`rank ${rank} left: ${reason}`);
  }
}
