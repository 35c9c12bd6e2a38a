// Compares three ways in which beta of the E-step reaches 1: constant, a cosine, and custom stairs.
//   npx mixhead run examples/annealing.ts                     a minute: shows that it runs, and a report
//   npx mixhead run examples/annealing.ts train.stop=2000 --name annealing-long
// What to look at: uniqueness over training in the report. A low beta makes responsibilities flat, and flat ones
// pull every component toward the mean of all embeddings. 100 steps are too few to distinguish these arms.
import { compare, cosine, schedule } from "mixhead";

const stairs = schedule(
  ({ step }) => Math.min(1, 0.25 * (1 + Math.floor(step / 20))),
  "stairs of 0.25 every 20 steps",
);

await compare(
  {
    constant: { plugin: { annealing: 1 } },
    cosine: { plugin: { annealing: cosine({ from: 0.2, to: 1, steps: 60 }) } },
    stairs: { plugin: { annealing: stairs } },
  },
  { base: { data: { train: 5000, test: 1000 }, train: { stop: 100, batch: 64, evaluateEvery: 20 } } },
);
