import { BatchError } from "../bridge/errors.ts";
import type { Batch, Rows, Welcome } from "../bridge/room.ts";
import { UserError } from "../errors.ts";
import type { Answerer, StepAnswer } from "../experiment/answerer.ts";
import type { NamedTensors } from "../files/tensors.ts";
import type { Device } from "../mixture/device.ts";
import type { HostEdge } from "../mixture/host-edge.ts";
import { prefixed, unprefixed } from "../mixture/prefix.ts";
import type { Clock } from "../schedules/schedule.ts";

/** A step that waits for its answer. */
export interface Asked {
  rows: Rows;
  clock: Clock;
  answer(answer: StepAnswer): void;
  refuse(error: Error): void;
}

/** Connects the bridge's steps with the body of a session's loop. Each waits for the other. */
export class StepLoop implements Answerer {
  readonly placement = "host";
  /** Data of the loop's body that is saved, and restored after a resume. */
  readonly memory: NamedTensors = {};
  private arrived = deferred<Asked>();
  private rows: Rows | undefined;

  constructor(readonly mixture: HostEdge) {}

  /** The device of the standard mixture, if it is not computed in this process. */
  get device(): Device | undefined {
    return this.mixture.device;
  }

  /**
   * The prototypes that the encoder uses, K x D.
   *
   * @throws UserError before the training has begun
   */
  get current(): Rows {
    if (this.rows === undefined) throw new UserError("there are no prototypes before the loop has begun");
    return this.rows;
  }

  /** Reads the initial prototypes, unless a checkpoint has set them. */
  async begin(): Promise<void> {
    if (this.rows !== undefined) return;
    const { n, d, data } = await this.mixture.prototypes();
    this.rows = { n, d, data: data.slice() };
  }

  /** Waits for the next step of a rank. */
  async next(): Promise<Asked> {
    const asked = await this.arrived.promise;
    this.arrived = deferred();
    return asked;
  }

  async step({ rows }: Batch, clock: Clock): Promise<StepAnswer> {
    if (rows === undefined) throw new BatchError("shape", "a loop over steps needs the embeddings");
    return new Promise((answer, refuse) => this.arrived.resolve({ rows, clock, answer, refuse }));
  }

  async welcome(): Promise<Pick<Welcome, "prototypes">> {
    await this.mixture.welcome();
    await this.begin();
    return { prototypes: await this.prototypes() };
  }

  async prototypes(): Promise<Rows> {
    return { ...this.current, data: this.current.data.slice() };
  }

  async state(): Promise<NamedTensors> {
    const { n, d, data } = await this.prototypes();
    return {
      "loop.prototypes": { shape: [n, d], data },
      ...prefixed("memory", this.memory),
      ...prefixed("mixture", await this.mixture.state()),
    };
  }

  load(state: NamedTensors): void {
    this.mixture.load(unprefixed("mixture", state));
    Object.assign(this.memory, unprefixed("memory", state));
    const saved = state["loop.prototypes"];
    if (saved === undefined) return;
    const [n = 0, d = 0] = saved.shape;
    this.rows = { n, d, data: saved.data.slice() };
  }

  async restart(): Promise<void> {
    throw new TypeError("a session's loop cannot be restarted");
  }

  dispose(): void {
    this.mixture.dispose();
  }
}

function deferred<T>(): { promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((take) => {
    resolve = take;
  });
  return { promise, resolve };
}
