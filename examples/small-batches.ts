// Compares balances for small batches: DINO at 16 to 128 images a step, with targets balanced by a center, by
// Sinkhorn-Knopp over the batch, and by Sinkhorn-Knopp over the batch and 512 earlier rows. Draws
// docs/images/small-batches.png.
//   npx mixhead run examples/small-batches.ts                 half an hour on two idle cores
//   npx mixhead run examples/small-batches.ts train.stop=20   minutes: too short to distinguish the arms
import { writeFile } from "node:fs/promises";
import { compare, type Settings } from "mixhead";
import { type CurvePoint, drawCurves } from "../src/report/curves.ts";
import { sideBySide, toPng } from "../src/report/picture.ts";

const BATCHES = [16, 32, 64, 128];
const PANEL = { width: 370, height: 260 };

const center = { balance: "center" } as const;
const memory = { memory: 512 };
const arms = {
  "joint center": { prototypes: "joint", targets: center },
  "joint Sinkhorn": { prototypes: "joint" },
  "joint memory": { prototypes: "joint", targets: memory },
  "decoupled Sinkhorn": {},
  "decoupled memory": { targets: memory },
} satisfies Record<string, Settings>;
const balances = new Map([
  ["center", "#d55e00"],
  ["Sinkhorn", "#56b4e9"],
  ["memory", "#0072b2"],
]);

const points: CurvePoint[] = [];
let untrained = 0;
for (const batch of BATCHES) {
  const base: Settings = {
    data: { train: 5_000, test: 2_000 },
    // The rate is proportional to the square root of the batch, as is usual with Adam; all else is the same.
    train: { batch, lr: 0.003 * Math.sqrt(batch / 128), stop: 400, evaluateEvery: 400, onlineProbe: false },
  };
  const { summary } = await compare(arms, { base, name: `small-batches-${batch}` });
  untrained = summary.untrained.knn ?? untrained;
  for (const [arm, { knn, interval }] of Object.entries(summary.arms)) {
    const [low, high] = interval?.knn ?? [];
    points.push({ arm, x: batch, y: knn, ...(low !== undefined && high !== undefined && { low, high }) });
  }
}

const ys = points.map(({ y }) => y);
const domain: [number, number] = [Math.min(untrained, ...ys) - 0.01, Math.max(...ys) + 0.005];
const panels = ["joint", "decoupled"].map((prototypes) =>
  drawCurves(
    [...balances.keys()],
    points.flatMap((point) => {
      const [of, arm = ""] = point.arm.split(" ");
      return of === prototypes ? [{ ...point, arm }] : [];
    }),
    {
      x: { title: "images a step", log: true, ticks: BATCHES },
      y: { title: `k-NN accuracy, ${prototypes}`, percent: true, domain },
      size: PANEL,
      level: { y: untrained, name: "untrained" },
      colors: balances,
    },
  ),
);
const svg = sideBySide("Small batches, 400 steps: targets balanced by", await Promise.all(panels), PANEL, {
  legend: balances,
  scale: 1.5,
});
await writeFile("docs/images/small-batches.png", toPng(svg, 1));
