// Compares the paper's mixture, whole and in parts, with the defaults and with joint prototypes (docs/paper.md).
//   npx mixhead run examples/paper.ts                         80 minutes on two cores
// What to look at: "perplexity" and k-NN of the arms with and without even weights.
import { compare } from "mixhead";

await compare(
  {
    joint: { prototypes: "joint" },
    default: {},
    paper: { plugin: { preset: "paper" } },
    "paper, with a prior": { plugin: { preset: "paper", prior: { strength: 10 } } },
    "paper, all in use": { plugin: { preset: "paper", prior: { strength: "auto" }, use: { share: "auto" } } },
    "paper, no annealing": { plugin: { preset: "paper", annealing: 1 } },
    // The weights stay where they start, at 1 / K each.
    "paper, even weights": { plugin: { preset: "paper", weightRate: 0 } },
    "estimated weights alone": { plugin: { weights: "estimated" } },
  },
  {
    base: { data: { train: 20_000, test: 5_000 }, train: { steps: 5_000, stop: 1_000 } },
    seeds: 3,
    name: "paper",
  },
);
