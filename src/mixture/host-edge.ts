import * as tf from "@tensorflow/tfjs-core";
import { BatchError } from "../bridge/errors.ts";
import { LIMITS } from "../bridge/limits.ts";
import type { Batch, Rows, Welcome } from "../bridge/room.ts";
import type { NamedTensors } from "../files/tensors.ts";
import { BadRowError, unitBatch } from "../plugins/batch.ts";
import type { Clock } from "../schedules/schedule.ts";
import type { Device } from "./device.ts";
import type { Edge, EdgeAnswer } from "./edge.ts";
import { Mixture, type MixtureOptions, type MixtureParts, type PrototypesInUse } from "./mixture.ts";

/** Arrays of the prototypes that changed, and of targets if they are made here. */
type HostAnswer = EdgeAnswer & Required<Pick<EdgeAnswer, "rows">>;

/**
 * Placement `host`: arrays cross the bridge. The mixture is computed in this process, or on `device` if one is
 * given.
 */
export class HostEdge implements Edge {
  readonly placement = "host";
  private constructor(
    private opened: Mixture,
    private readonly again: (start: Rows | undefined) => Promise<Mixture>,
    readonly device: Device | undefined,
  ) {}

  /** @throws UserError if the configured plugin is not available */
  static async open(parts: MixtureParts, options: MixtureOptions, device?: Device): Promise<HostEdge> {
    const open = (start: Rows | undefined) =>
      Mixture.open(parts, { ...options, start, device: device !== undefined });
    const edge = new HostEdge(await on(device, () => open(options.start)), open, device);
    if (device === undefined) await edge.mixture.check();
    return edge;
  }

  get mixture(): Mixture {
    return this.opened;
  }

  step({ rows }: Pick<Batch, "rows">, clock: Clock): Promise<HostAnswer> {
    if (rows === undefined) throw new BatchError("shape", "this mixture needs the embeddings themselves");
    return on(this.device, () => this.take(rows, clock));
  }

  private async take(rows: Rows, clock: Clock): Promise<HostAnswer> {
    const { components } = this.mixture.plugin;
    if (rows.n * components > LIMITS.targets) {
      throw new BatchError(
        "shape",
        `${rows.n} rows are too many: N x K is at most ${LIMITS.targets} in Node`,
      );
    }
    const sent = tf.tensor2d(rows.data, [rows.n, rows.d]);
    const h = await unitBatch(sent)
      .catch((error: unknown) => {
        if (error instanceof BadRowError) throw new BatchError("row", error.message, error.row);
        throw error;
      })
      .finally(() => sent.dispose());
    try {
      const { touched, targets, scalars } = await this.mixture.step(h, clock);
      const { components: k } = this.mixture.plugin;
      // Read together, so that a device needs one round trip.
      const [changed, made] = await Promise.all([this.changedRows(touched), targets && numbersOf(targets)]);
      return {
        rows: changed,
        ...(made && { targets: { n: rows.n, k, data: made } }),
        scalars: onlyNumbers(scalars),
      };
    } finally {
      h.dispose();
    }
  }

  async welcome(): Promise<Pick<Welcome, "prototypes">> {
    await this.device?.run(() => this.mixture.check());
    return { prototypes: await this.prototypes() };
  }

  async prototypes(): Promise<Rows> {
    const { components: n, dim: d } = this.mixture.plugin;
    return on(this.device, async () => ({
      n,
      d,
      data: await this.mixture.plugin.prototypes().data<"float32">(),
    }));
  }

  prototypesInUse(): Promise<PrototypesInUse> {
    return on(this.device, () => this.mixture.prototypesInUse());
  }

  state(): Promise<NamedTensors> {
    return on(this.device, () => this.mixture.state());
  }

  load(state: NamedTensors): void {
    on(this.device, () => this.mixture.load(state));
  }

  async restart(start: Rows): Promise<void> {
    const next = await on(this.device, () => this.again(start));
    on(this.device, () => this.mixture.dispose());
    this.opened = next;
  }

  dispose(): void {
    on(this.device, () => this.mixture.dispose());
    this.device?.dispose();
  }

  private async changedRows(touched: Int32Array | "all"): Promise<NonNullable<EdgeAnswer["rows"]>> {
    const { plugin } = this.mixture;
    const d = plugin.dim;
    if (touched === "all") return { d, data: (await this.prototypes()).data };
    if (touched.length === 0) return { d, data: new Float32Array(0), indices: touched };
    const rows = tf.tidy(() => tf.gather(plugin.prototypes(), tf.tensor1d(touched, "int32")));
    return { d, data: await numbersOf(rows), indices: touched };
  }
}

function on<T>(device: Device | undefined, work: () => T): T {
  return device === undefined ? work() : device.run(work);
}

/** Reads the numbers of a tensor and disposes it. */
async function numbersOf(tensor: tf.Tensor): Promise<Float32Array> {
  const data = await tensor.data<"float32">();
  tensor.dispose();
  return data;
}

function onlyNumbers(scalars: Record<string, number | tf.Scalar>): Record<string, number> {
  const numbers = Object.entries(scalars).flatMap(([name, value]) =>
    typeof value === "number" ? [[name, value] as const] : [],
  );
  return Object.fromEntries(numbers);
}
