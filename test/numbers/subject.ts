import type { NamedTensors } from "../../src/files/tensors.ts";
import { Device } from "../../src/mixture/device.ts";
import { DeviceEdge } from "../../src/mixture/device-edge.ts";
import { HostEdge } from "../../src/mixture/host-edge.ts";
import type { Clock } from "../../src/schedules/schedule.ts";
import { type DeviceRank, EdgeRoom, serving } from "../mixture/device-rank.ts";
import { D, type Setting } from "./settings.ts";

/** What a step gave. */
interface Step {
  targets: Float32Array;
  prototypes: Float32Array;
  scalars: Record<string, number>;
  state: NamedTensors;
}

/** A mixture that takes steps, wherever it is computed. */
export interface Subject {
  /** Undefined where nobody can read it before the first step. */
  start: NamedTensors | undefined;
  take(rows: number[][], clock: Clock): Promise<Step>;
  end(): Promise<void>;
}

/** In this process, on the backend that is active. */
export async function onHost({ parts }: Setting, seed: number): Promise<Subject> {
  const edge = await HostEdge.open(parts, { dim: D, seed });
  return {
    start: await edge.state(),
    take: async (rows, clock) => {
      const data = Float32Array.from(rows.flat());
      const { targets, scalars } = await edge.step({ rows: { data, n: rows.length, d: D } }, clock);
      const [{ data: prototypes }, state] = [await edge.prototypes(), await edge.state()];
      return { targets: targets?.data ?? new Float32Array(), prototypes, scalars, state };
    },
    end: async () => edge.dispose(),
  };
}

/** On a rank's device, as `placement: device` has it. Scalars are those of the step before. */
export async function onDevice(rank: DeviceRank, { parts }: Setting, seed: number): Promise<Subject> {
  const edge = await DeviceEdge.open(parts, { dim: D, seed }, new Device());
  let now: Clock = { step: 0, steps: 1, epoch: 0 };
  const room = new EdgeRoom(edge, () => now);
  room.save = true;
  const server = await serving(room);
  await rank.join(server.endpoint);
  return {
    start: undefined,
    take: async (rows, clock) => {
      now = clock;
      const { targets, prototypes, scalars } = await rank.take(clock.step, rows);
      const [state] = await Promise.all(room.saved.splice(0));
      const [failure] = room.failures;
      if (failure !== undefined) throw new Error(failure);
      if (state === undefined || targets === null)
        throw new Error(`step ${clock.step} left no state or no targets`);
      return { targets: targets.data, prototypes: prototypes.data, scalars, state };
    },
    end: async () => {
      await rank.leave();
      await server.close();
    },
  };
}
