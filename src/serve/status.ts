import type { MixtureRoom } from "./room.ts";

/** A line for each mixture that took steps since the last call: its step, its rate and its measures. */
export class Status {
  private readonly seen = new WeakMap<MixtureRoom, { steps: number; time: number }>();

  lines(mixtures: readonly MixtureRoom[], now: number): string[] {
    return mixtures.flatMap((room) => {
      const { steps, scalars } = room;
      const last = this.seen.get(room) ?? { steps, time: now };
      this.seen.set(room, { steps, time: now });
      if (steps === last.steps) return [];
      const rate = ((steps - last.steps) / (now - last.time)) * 1000;
      return `${room.title}: step ${steps}, ${rate.toFixed(1)} steps/s, used ${show(scalars.used)}, unique .5 ${show(scalars["unique.0.5"])}, distinctUsed .5 ${show(scalars["distinctUsed.0.5"])}`;
    });
  }
}

function show(share: number | undefined): string {
  return share === undefined ? "-" : share.toFixed(2);
}
