import type { Rows } from "../bridge/room.ts";
import type { Answerer, StepAnswer } from "../experiment/arm.ts";
import { type Mixture, prefixed, unprefixed } from "../experiment/mixture.ts";
import type { NamedTensors } from "../plugins/plugin.ts";
import type { Clock } from "../schedules/schedule.ts";

/** A step that waits for its answer. */
export interface Asked {
  rows: Rows;
  clock: Clock;
  answer(answer: StepAnswer): void;
  refuse(error: Error): void;
}

/** Where the bridge's steps and the body of a loop meet: each waits for the other. */
export class StepLoop implements Answerer {
  /** The prototypes, K x D, as the encoder sees them. */
  readonly current: Rows;
  /** What the body of the loop wants to find again after a resume. */
  readonly memory: NamedTensors = {};
  private arrived = deferred<Asked>();

  constructor(
    readonly mixture: Mixture,
    start: Rows,
  ) {
    this.current = { ...start, data: start.data.slice() };
  }

  /** The next step that a rank asks for. */
  async next(): Promise<Asked> {
    const asked = await this.arrived.promise;
    this.arrived = deferred();
    return asked;
  }

  step(rows: Rows, clock: Clock): Promise<StepAnswer> {
    return new Promise((answer, refuse) => this.arrived.resolve({ rows, clock, answer, refuse }));
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
    if (saved !== undefined) this.current.data.set(saved.data);
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
