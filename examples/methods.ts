// Trains every method over three seeds, with prototypes learned with the encoder and estimated beside it, and DINO also
// with the baselines and the other plugins. It gives the tables of docs/methods.md.
//   npx mixhead run examples/methods.ts                       an hour on two cores
//   npx mixhead run examples/methods.ts train.stop=20         minutes: too short to distinguish the arms
//   npx mixhead report methods-dino methods-carp ...          all of them on one page
import { compare, type Settings } from "mixhead";

const base: Settings = {
  data: { train: 10_000, test: 5_000 },
  train: { steps: 5_000, stop: 500, evaluateEvery: 250 },
};
const arms = { joint: { prototypes: "joint" }, decoupled: { prototypes: "decoupled" } } as const;

await compare(
  {
    ...arms,
    koleo: { prototypes: "joint", train: { koleo: 0.1 } },
    frozen: { prototypes: "frozen" },
    kmeans: { plugin: { kind: "kmeans" } },
    clustering: { plugin: { kind: "sinkhorn" } },
  },
  { base, seeds: 3, name: "methods-dino" },
);
for (const method of ["swav", "carp", "msn", "pmsn"] as const) {
  await compare(arms, { base: { ...base, method }, seeds: 3, name: `methods-${method}` });
}
// iBOT needs a transformer: this is timm's smallest, with patches of 16 pixels.
await compare(arms, {
  base: { ...base, method: "ibot", encoder: { name: "test_vit" }, views: { globalSize: 64, localSize: 32 } },
  seeds: 3,
  name: "methods-ibot",
});
