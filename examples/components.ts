// Varies the number of prototypes, in arms that learn them and arms that estimate them: six trainings, one table.
//   npx mixhead run examples/components.ts                    a minute: too short to distinguish the arms
//   npx mixhead run examples/components.ts train.steps=2000 train.stop=2000 train.batch=128 data.train=20000 --name components-long
// What to look for in the long run: do the decoupled arms gain from more prototypes while the joint ones do not?
import { sweep } from "mixhead";

const { trainings } = await sweep({
  base: { data: { train: 5000, test: 1000 }, train: { stop: 50, batch: 64, evaluateEvery: 50 } },
  vary: { prototypes: ["joint", "decoupled"], "plugin.components": [256, 1024, 4096] },
});
const best = trainings.reduce((a, b) => (b.knn > a.knn ? b : a));
console.log(`best by k-NN: ${best.arm} with ${(100 * best.knn).toFixed(1)} %`);
