import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { Answer, Batch, Hello, Room, RunFailure, Welcome } from "../../src/bridge/room.ts";
import { BridgeServer } from "../../src/bridge/server.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";
import type { Edge } from "../../src/mixture/edge.ts";
import { checkExecutor } from "../../src/mixture/placement.ts";
import type { Clock } from "../../src/schedules/schedule.ts";
import { PythonPeer } from "../bridge/peers.ts";

const array = z
  .object({ shape: z.array(z.number()), data: z.string() })
  .transform(({ shape, data }) => ({ shape, data: floats(Buffer.from(data, "base64")) }));
const welcome = z.object({ step: z.number(), prototypes: array });
const taken = z.object({
  scalars: z.record(z.string(), z.number()),
  prototypes: array,
  targets: array.nullable(),
  handles: z.number(),
});
const saved = z.object({ step: z.number(), state: z.record(z.string(), array) });
const message = z.object({ type: z.string(), bytes: z.number(), tensors: z.array(z.string()) });
const traffic = z.object({ sent: z.array(message), received: z.array(message) });

function floats(bytes: Buffer): Float32Array {
  return new Float32Array(new Uint8Array(bytes).buffer);
}

/** A Python process that is a rank with an executor; see rank.py. */
export class DeviceRank {
  private constructor(private readonly peer: PythonPeer) {}

  static async start(): Promise<DeviceRank> {
    return new DeviceRank(await PythonPeer.start(fileURLToPath(new URL("rank.py", import.meta.url))));
  }

  /** Joins; the mixture's start. */
  async join(endpoint: string, options: object = {}): Promise<z.infer<typeof welcome>> {
    await this.peer.call("open", { endpoint, run: "test", deadline: 10, ...options });
    return welcome.parse(await this.peer.call("connect"));
  }

  /** A step on these rows, which stay there. */
  async take(step: number, rows: readonly (readonly number[])[]): Promise<z.infer<typeof taken>> {
    return taken.parse(await this.peer.call("take", { step, rows }));
  }

  /** The mixture's whole state, as a script saves it. */
  async state(): Promise<z.infer<typeof saved>> {
    return saved.parse(await this.peer.call("whole_state"));
  }

  /** Has the mixture go on from a saved state. */
  async load(step: number, state: NamedTensors): Promise<z.infer<typeof welcome>> {
    const text = Object.entries(state).map(([name, { shape, data }]) => {
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
      return [name, { shape, data: bytes }] as const;
    });
    return welcome.parse(await this.peer.call("load_whole", { step, state: Object.fromEntries(text) }));
  }

  /** Has the mixture begin anew at these prototypes; those that the rank has then. */
  async restart(start: readonly (readonly number[])[]): Promise<z.infer<typeof welcome>> {
    return welcome.parse(await this.peer.call("begin", { start }));
  }

  /** The messages since the last call. */
  async traffic(): Promise<z.infer<typeof traffic>> {
    return traffic.parse(await this.peer.call("measured"));
  }

  async spoil(by: number): Promise<void> {
    await this.peer.call("spoil", { by });
  }

  async leave(): Promise<void> {
    await this.peer.call("close");
  }

  kill(): Promise<void> {
    return this.peer.kill();
  }
}

/** A room around an edge, and nothing else. */
export class EdgeRoom implements Room {
  readonly components = 0;
  readonly dim = 0;
  /** What the ranks have been told of bad rows, and what failed there. */
  readonly bad: { step: number; row: number }[] = [];
  readonly failures: string[] = [];
  /** What a checkpoint after each step holds, where it is asked for. */
  readonly saved: Promise<NamedTensors>[] = [];
  save = false;
  steps: number;

  constructor(
    readonly edge: Edge,
    private readonly clockAt: (step: number) => Clock,
    steps = 0,
  ) {
    this.steps = steps;
  }

  async welcome(hello: Hello): Promise<Welcome> {
    checkExecutor(hello);
    return { step: this.steps, config: "{}", commands: [], ...(await this.edge.welcome()) };
  }

  async step(batch: Batch): Promise<Answer> {
    const { bad, saved, scalars, ...answer } = await this.edge.step(batch, this.clockAt(batch.step), {
      save: () => this.save,
    });
    if (bad) this.bad.push(bad);
    if (saved) this.saved.push(saved);
    this.steps = batch.step + 1;
    return { ...answer, scalars, commands: [] };
  }

  result(): void {}

  state(): Promise<NamedTensors> {
    return this.edge.state();
  }

  async load(step: number, state: NamedTensors): Promise<void> {
    const { prototypes, ...rest } = state;
    if (prototypes === undefined || Object.keys(rest).length > 0) this.edge.load(state);
    else
      await this.edge.restart({
        data: prototypes.data,
        n: prototypes.shape[0] ?? 0,
        d: prototypes.shape[1] ?? 0,
      });
    this.steps = step;
  }

  attach(send: Parameters<NonNullable<Room["attach"]>>[0]): void {
    this.edge.device?.attach(send);
  }

  values(...args: Parameters<NonNullable<Room["values"]>>): void {
    this.edge.device?.values(...args);
  }

  failed(_rank: number, failure: RunFailure): string | undefined {
    const why = this.edge.device?.failed(failure).message;
    this.failures.push(why ?? failure.message);
    return why;
  }

  lost(_rank: number, why: string): void {
    this.edge.device?.lost(why);
  }

  left(_rank: number, reason: string): void {
    this.edge.device?.lost(`the rank has left: ${reason}`);
  }
}

/** A server with one room. */
export function serving(room: Room): Promise<BridgeServer> {
  return BridgeServer.start({ open: async () => room, deadline: 10 });
}
