// Checked by tsc alone: what an experiment file may write, and what its types refuse.
import {
  compare,
  cosine,
  experiment,
  openSession,
  type PluginFactory,
  type Settings,
  schedule,
  sweep,
  type Vary,
} from "mixhead";
import { z } from "zod";

export const allowed: Settings = {
  plugin: {
    kind: ({ components, dim }) => {
      throw new RangeError(`${components} x ${dim}`);
    },
    annealing: cosine({ from: 0.2, to: schedule(({ step, steps }) => step / steps) }),
    prior: { strength: { linear: { from: 10, to: 0 } } },
  },
  train: { weightDecay: 0.04 },
  views: { globalScale: [0.3, 1] },
};
export const varied: Vary = {
  prototypes: ["joint", "decoupled"],
  "plugin.components": [1, 2],
  "plugin.annealing": [1, cosine({ from: 0.2, to: 1 })],
  "plugin.forgetting.by": ["time", "nothing"],
  "plugin.options.rate": [0.1, "any", true],
};

const options = z.strictObject({ rate: z.number().default(1) });
export const optioned: PluginFactory<z.infer<typeof options>> = ({ options: { rate } }) => {
  throw new RangeError(rate.toFixed());
};
// @ts-expect-error a factory that needs options is named by its file: only that is recorded with them
export const closedOver: Settings = { plugin: { kind: optioned } };

// @ts-expect-error a wrong key
export const wrongKey: Settings = { train: { stp: 3 } };
// @ts-expect-error a wrong value
export const wrongValue: Settings = { prototypes: "decoupeld" };
// @ts-expect-error a rate is a number: its schedule is fixed
export const wrongSchedule: Settings = { train: { lr: cosine({ from: 1, to: 0 }) } };
// @ts-expect-error a function of the clock is wrapped in schedule()
export const bareFunction: Settings = { plugin: { annealing: () => 1 } };
// @ts-expect-error a name of no setting
export const wrongName: Vary = { "plugin.componets": [1] };
// @ts-expect-error values of another type
export const wrongValues: Vary = { "plugin.components": ["many"] };

export async function results(): Promise<void> {
  const { arms, difference } = await compare({ a: {}, b: {} }, { seeds: 3, base: allowed });
  arms.a?.knn.toFixed();
  difference("a", "b")?.knn.p.toFixed();
  // @ts-expect-error an arm that is not there
  arms.c;
  // @ts-expect-error the arm may have failed
  arms.a.knn;
  (await experiment(allowed)).trainings[0]?.unique;
  (await sweep({ vary: varied })).summary.untrained;
  const session = await openSession(allowed, { name: "x" });
  for await (const step of session.steps()) {
    // @ts-expect-error targets are needed
    step.answer({});
    step.answer({ targets: step.embeddings, clock: { lr: 1 } });
  }
}
