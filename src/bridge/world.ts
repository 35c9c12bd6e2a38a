import { sentence } from "../errors.ts";
import { admit } from "./admission.ts";
import {
  answerTensors,
  encodeReject,
  encodeTargets,
  encodeWelcome,
  readState,
  stateTensors,
} from "./answers.ts";
import { Awaited } from "./awaited.ts";
import { encode, type Frames, type Tensors } from "./codec.ts";
import type { Dialect } from "./dialect.ts";
import { BatchError, RejectError } from "./errors.ts";
import { asBatchError, blame, merge, type Part, readPart, spread } from "./gather.ts";
import { tell } from "./hooks.ts";
import { short } from "./limits.ts";
import type { ErrorCode, Header } from "./protocol.ts";
import type { Hello, Room } from "./room.ts";
import { type Runner, Runs } from "./runs.ts";
import { StepParts } from "./step-parts.ts";

/** One rank while its connection lasts. */
export interface Rank extends Runner {
  readonly hello: Hello;
  readonly dialect: Dialect;
  /** The bytes of its welcome, for a repeated hello, and the run in them. */
  welcome?: { frames: Frames; run: number | undefined };
  /** Its last answer, for a repeated request, and the run in it. */
  answer?: { step: number; frames: Frames; run: number | undefined };
  /** Set when it joins. */
  awaited?: Awaited;
}

/** Milliseconds. */
export interface Deadlines {
  /** Of a step, from the first rank's rows to the last one's. */
  step: number;
  /** Of each command, from the result of the previous one to its own. */
  command: number;
}

/** The number of ranks that a message names at most. */
const MOST_LISTED = 8;

type Of<T extends Header["type"]> = Extract<Header, { type: T }>;

/**
 * The ranks of one run and mixture, and the room that answers them. A step begins when every rank has sent its part,
 * is taken once, and ends with an answer or an error for each rank.
 */
export class World {
  private readonly ranks = new Map<number, Rank>();
  private readonly parts: StepParts;
  /** The room is computing the step. Before that, it may still be processing the result of a command. */
  private working = false;
  private next = 0;
  /** Why no step can be taken until every rank has left. */
  private broken: string | undefined;
  private turn: Promise<void> = Promise.resolve();
  private runs: Runs<Rank>;

  constructor(
    private readonly room: Room,
    private size: number,
    private readonly deadlines: Deadlines,
  ) {
    this.runs = new Runs(size, {});
    this.parts = new StepParts(deadlines.step, () => tell(() => this.overdue()));
  }

  /** Admits and welcomes a rank. Throws RejectError, or what the room throws, if the rank is not admitted. */
  async join(rank: Rank): Promise<void> {
    if (this.ranks.size === 0) this.size = rank.hello.world;
    const present = [...this.ranks.values()].map((each) => each.hello);
    try {
      admit(rank.hello, { room: this.room, size: this.size, present, broken: this.broken });
    } catch (error) {
      this.tellEmpty();
      throw error;
    }
    if (present.length === 0) this.runs = new Runs(this.size, this.room);
    this.ranks.set(rank.hello.rank, rank);
    try {
      await this.inTurn(() => this.welcome(rank));
    } catch (error) {
      this.remove(rank);
      this.tellEmpty();
      throw error;
    }
  }

  private tellEmpty(): void {
    if (this.ranks.size === 0) tell(() => this.room.empty?.());
  }

  private async welcome(rank: Rank): Promise<void> {
    this.runs.catchUp(rank);
    const welcome = await this.runs.askedBy(rank, () => this.room.welcome(rank.hello));
    this.next = welcome.step;
    rank.awaited?.end();
    const { command, step } = this.deadlines;
    const part = this.room.late ? step : null;
    rank.awaited = new Awaited({ command, part }, (why) => tell(() => this.late(rank, why)));
    rank.awaited.expect(welcome.commands, welcome.step);
    if (welcome.run) this.runs.send(welcome.run, rank);
    const run = welcome.run && this.runs.as(rank, welcome.run);
    rank.welcome = { frames: encodeWelcome(rank.generation, welcome, run, rank.dialect), run: run?.seq };
    rank.send(rank.welcome.frames);
    if (welcome.run) this.runs.sent(welcome.run);
  }

  /** Notes a rank's part of a step. The last part starts the step. */
  embeddings(rank: Rank, header: Of<"embeddings">, read: () => Tensors): void {
    const { step } = header;
    if (rank.answer?.step === step) rank.send(rank.answer.frames);
    else if (this.broken !== undefined) this.fail(rank, "peer", this.broken);
    else if (step !== this.next) this.fail(rank, "order", `step ${step} came, step ${this.next} is next`);
    else if (rank.awaited?.owed !== undefined)
      this.fail(rank, "order", `step ${step} came, ${rank.awaited.owed} is next`);
    else if (!this.parts.has(rank.hello.rank)) this.add(rank, header, read); // else its answer will come
  }

  private add(rank: Rank, header: Of<"embeddings">, read: () => Tensors): void {
    delete rank.welcome; // it may be large, and is not needed any more
    rank.awaited?.part();
    if (this.parts.add(rank.hello.rank, this.read(header, read), this.size))
      void this.inTurn(() => this.take(header.step));
  }

  private read(header: Of<"embeddings">, read: () => Tensors): Part {
    try {
      return readPart(header, read(), this.room.dim);
    } catch (error) {
      return asBatchError(error);
    }
  }

  /** Takes the step, or tells every rank why it was refused. */
  private async take(step: number): Promise<void> {
    const arrived = this.parts.sorted();
    const numbers = arrived.map(([number]) => number);
    const parts = arrived.map(([, part]) => part);
    const good = parts.flatMap((part) => (part instanceof BatchError ? [] : part));
    const counts = good.map((part) => part.rows?.n ?? 0);
    this.working = true;
    try {
      if (good.length < parts.length) {
        this.tellErrors(numbers, parts);
        return;
      }
      const batch = merge(step, good);
      if (!this.room.step) throw new BatchError("plugin", "this room takes no steps");
      const answer = await this.room.step(batch);
      const dialects = numbers.map((number) => this.ranks.get(number)?.dialect);
      const tensors = answerTensors(answer, counts, dialects);
      this.next = step + 1;
      for (const [i, number] of numbers.entries()) {
        const rank = this.ranks.get(number);
        if (!rank) continue;
        const run = answer.run && this.runs.as(rank, answer.run);
        rank.awaited?.expect(answer.commands, step + 1);
        rank.answer = {
          step,
          frames: encodeTargets(rank.generation, step, answer, tensors[i], run),
          run: run?.seq,
        };
        rank.send(rank.answer.frames);
      }
      if (answer.run) this.runs.sent(answer.run);
    } catch (error) {
      this.tellErrors(numbers, spread(asBatchError(error), parts));
    } finally {
      this.parts.clear();
      this.working = false;
    }
  }

  private tellErrors(numbers: number[], parts: Part[]): void {
    for (const [number, { code, message, row }] of blame(numbers, parts)) {
      const rank = this.ranks.get(number);
      if (rank) this.fail(rank, code, message, row);
    }
  }

  /** Sends a rank the whole state, for its checkpoint. */
  state(rank: Rank): Promise<void> {
    return this.inTurn(async () => {
      try {
        const header = { type: "state", generation: rank.generation, step: this.next } as const;
        const state = await this.runs.askedBy(rank, async () => (await this.room.state?.()) ?? {});
        rank.send(encode(header, stateTensors(state)));
      } catch (error) {
        this.fail(rank, "plugin", sentence(error));
      }
    });
  }

  /** Continues from a rank's state and welcomes the rank anew. Throws RejectError, or what the room throws. */
  load(rank: Rank, step: number, read: () => Tensors): Promise<void> {
    return this.inTurn(async () => {
      if (!this.room.load) throw new RejectError("state", "this run cannot load a state from a rank");
      await this.room.load(step, readState(read()));
      for (const each of this.ranks.values()) delete each.answer;
      await this.welcome(rank);
      this.abandon("order", `rank ${rank.hello.rank} loaded a state: step ${this.next} is next`);
    });
  }

  /** Passes the result of a command to the room. A repeated or unexpected result is dropped. */
  async result(rank: Rank, header: Of<"result">, read: () => Tensors): Promise<void> {
    const { command, step, scalars, text } = header;
    if (rank.awaited?.result(command, step, text.failed !== undefined) !== true) return;
    this.parts.extend(); // the command's time does not count as silence
    await this.inTurn(async () => {
      try {
        await this.room.result?.({ rank: rank.hello.rank, command, step, scalars, text, tensors: read() });
      } catch (error) {
        this.fail(rank, "plugin", `the result of ${command} could not be processed: ${sentence(error)}`);
      }
    });
  }

  values(rank: Rank, { seq }: Of<"values">, read: () => Tensors): void {
    this.runs.values(rank, seq, read);
  }

  /** A rank could not execute a run. Tells the room, and then the rank if it waits for an answer with this run. */
  failed(rank: Rank, { seq, at, code, message }: Of<"failed">): void {
    const why = this.runs.failed(rank, { seq, at, code, message });
    if (rank.welcome?.run === seq) rank.send(encodeReject(new RejectError("state", why), "state"));
    else if (rank.answer?.run === seq && !this.broken) this.takeBack(rank, rank.answer.step, why);
  }

  /** A rank could not apply the answer to a step. A single rank may repeat the step; several have diverged. */
  private takeBack(rank: Rank, step: number, why: string): void {
    if (this.size > 1) {
      this.break([rank.hello.rank], why);
      return;
    }
    delete rank.answer;
    rank.awaited?.end();
    this.next = step;
    this.fail(rank, "plugin", why);
  }

  /** Answers a rank's ping if its rows are here and the room is not computing the step. */
  ping(rank: Rank): void {
    if (!this.parts.has(rank.hello.rank) || this.working) return;
    rank.send(encode({ type: "pong", generation: rank.generation }));
  }

  /** A rank said goodbye: the others cannot take another step. */
  leave(rank: Rank, said: string): void {
    const { rank: number } = rank.hello;
    const owed = rank.awaited?.owed;
    const reason = said === "" && owed !== undefined ? `it did not send ${owed}` : said;
    this.remove(rank);
    if (this.ranks.size > 0) {
      this.broken ??= short(`rank ${number} left${reason && `: ${reason}`}`);
      this.abandon("peer", this.broken);
    }
    tell(() => this.room.left(number, short(reason)));
  }

  /** A rank was lost. The others are told at once. */
  lose(rank: Rank, why: string): void {
    const owed = rank.awaited?.owed;
    this.remove(rank);
    this.break([rank.hello.rank], why, owed);
  }

  /** Ends the world: no step can be taken until every rank has left. `owed`: the result that a lost rank still owed. */
  private break(lost: number[], why: string, owed?: string): void {
    this.parts.abandon();
    if (this.ranks.size > 0) this.broken ??= `rank ${listed(lost)}: ${why}`;
    for (const other of this.ranks.values()) {
      other.awaited?.end();
      this.fail(other, "peer", this.broken ?? why);
    }
    for (const number of lost) tell(() => this.room.lost(number, why, owed));
  }

  /** Ends the step that ranks wait for with an error, unless it has all its parts. */
  private abandon(code: ErrorCode, why: string): void {
    for (const number of this.parts.abandon()) {
      const rank = this.ranks.get(number);
      if (rank) this.fail(rank, code, why);
    }
  }

  private overdue(): void {
    const everyone = Array.from({ length: this.size }, (_, number) => number);
    const missing = everyone.filter((number) => !this.parts.has(number));
    // A command has a deadline of its own, and its result restarts this timer.
    if (missing.some((number) => this.ranks.get(number)?.awaited?.owed !== undefined)) return;
    const waited = `nothing came for step ${this.next} within ${this.deadlines.step / 1000} s of the first rank's rows`;
    const absent = missing.filter((number) => !this.ranks.has(number));
    this.break(missing, absent.length > 0 ? `${waited}; rank ${listed(absent)} never joined` : waited);
  }

  /** A rank hangs. */
  private late(rank: Rank, why: string): void {
    const { rank: number } = rank.hello;
    tell(() => this.room.late?.(number, why));
    this.break([number], why, rank.awaited?.owed);
  }

  private remove(rank: Rank): void {
    if (this.ranks.get(rank.hello.rank) !== rank) return;
    this.ranks.delete(rank.hello.rank);
    rank.awaited?.end();
    this.runs.remove(rank);
    if (this.ranks.size > 0) return;
    this.broken = undefined;
    this.dispose();
  }

  /** Sends a rank an error. */
  fail(rank: Rank, code: ErrorCode, message: string, row = -1): void {
    const { generation } = rank;
    rank.send(encode({ type: "error", generation, step: this.next, code, row, message: short(message) }));
  }

  /** Settles when the room has finished all requests so far. */
  get idle(): Promise<void> {
    return this.turn;
  }

  /** Queues work, so that the room does one thing at a time, in order. */
  private inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => {});
    return done;
  }

  /** Stops all timers and forgets the parts that have arrived. */
  dispose(): void {
    for (const rank of this.ranks.values()) rank.awaited?.end();
    this.parts.abandon();
  }
}

/** Ranks as a message lists them: shortened, since thousands may be missing. */
function listed(numbers: number[]): string {
  const first = numbers.slice(0, MOST_LISTED);
  const more = numbers.length - first.length;
  return more > 0 ? `${first.join(", ")} and ${more} others` : first.join(" and ");
}
