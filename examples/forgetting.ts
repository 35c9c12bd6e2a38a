// Compares forgetting by responsibility with forgetting by time. On a long-tailed data set, forgetting by time erases
// components that are rarely used, those of the tail classes; under forgetting by responsibility they stay.
//   npx mixhead run examples/forgetting.ts                    a minute: too short to distinguish the arms
//   npx mixhead run examples/forgetting.ts train.stop=3000 data.train=all data.test=all --name forgetting-long
// What to look at: "used" and the uniqueness of the two arms; with seeds, the interval of their difference.
import { compare } from "mixhead";

await compare(
  {
    responsibility: { plugin: { forgetting: { by: "responsibility", retention: 0.99 } } },
    time: { plugin: { forgetting: { by: "time", retention: 0.99 } } },
  },
  {
    base: {
      data: { name: "cifar10-lt", imbalance: 100, train: 5000, test: 1000 },
      train: { stop: 60, batch: 64, evaluateEvery: 30 },
    },
    seeds: 2,
  },
);
