// The paper's mixture beside the defaults and joint prototypes, over three seeds: the table of docs/mixture.md.
//   npx mixhead run examples/paper.ts                         40 minutes on two cores
import { compare } from "mixhead";

await compare(
  {
    joint: { prototypes: "joint" },
    default: {},
    paper: { plugin: { preset: "paper" } },
    "paper, no annealing": { plugin: { preset: "paper", annealing: 1 } },
  },
  {
    base: { data: { train: 20_000, test: 5_000 }, train: { steps: 5_000, stop: 1_000 } },
    seeds: 3,
    name: "paper",
  },
);
