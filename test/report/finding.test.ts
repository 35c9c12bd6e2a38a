import assert from "node:assert/strict";
import type { ArmFigures, Figures } from "../../src/report/data.ts";
import { finding } from "../../src/report/finding.ts";

function arm(knn: number, more: Partial<ArmFigures> = {}): ArmFigures {
  return {
    knn,
    unique: { "0.025": 1, "0.5": 0.4 },
    used: 0.7,
    perplexity: 500,
    steps: 1000,
    seeds: [0],
    seconds: 60,
    ...more,
  };
}

const figures = (arms: Record<string, ArmFigures>): Figures => ({
  untrained: { knn: 0.3 },
  arms,
  seconds: 120,
});

describe("the finding of a run", () => {
  it("says how far the decoupled arm is ahead, and how distinct and used both are", () => {
    assert.equal(
      finding(figures({ joint: arm(0.5, { unique: { "0.5": 0.08 }, used: 1 }), decoupled: arm(0.54) })),
      "Decoupled reaches a k-NN accuracy of 54.0 %, 4.0 points above joint (one seed) and 24.0 points above the untrained encoder; of decoupled's prototypes 40 % (joint: 8.0 %) are distinct at a cosine distance of 0.5 and 70 % (joint: 100 %) win an image.",
    );
  });

  it("mentions first the prototypes that are used and distinct, if measured, whichever arm is ahead", () => {
    const joint = arm(0.5, { used: 1, distinctUsed: { "0.5": 0.54 } });
    const decoupled = arm(0.54, { used: 0.25, distinctUsed: { "0.5": 0.14 } });
    assert.match(
      finding(figures({ joint, decoupled })),
      /; of decoupled's prototypes 14 % \(joint: 54 %\) win an image and are distinct at a cosine distance of 0\.5; whether used or not, 40 % \(joint: 40 %\) are distinct, and 25 % \(joint: 100 %\) win an image\.$/,
    );
    assert.match(finding(figures({ joint: arm(0.5), decoupled })), /14 % \(joint: –\) win an image and/);
    assert.match(
      finding(figures({ decoupled })),
      /; of decoupled's prototypes 14 % win an image and are distinct .*; whether used or not, 40 % are distinct/,
    );
  });

  it("says so if the decoupled arm is behind", () => {
    assert.match(
      finding(figures({ joint: arm(0.55), decoupled: arm(0.52) })),
      /^Decoupled reaches a k-NN accuracy of 52\.0 %, 3\.0 points below joint/,
    );
  });

  it("claims no difference of a point or less from one seed", () => {
    const text = finding(figures({ joint: arm(0.5), decoupled: arm(0.509) }));
    assert.match(
      text,
      /^Decoupled and joint are level in k-NN accuracy \(50\.9 % against 50\.0 %: a point or less/,
    );
    assert.doesNotMatch(text, /above joint/);
  });

  it("claims no difference if the intervals of several seeds overlap, however far the means are apart", () => {
    const wide = { seeds: [0, 1], interval: { knn: [0.4, 0.6] as [number, number] } };
    const other = { seeds: [0, 1], interval: { knn: [0.5, 0.62] as [number, number] } };
    assert.match(
      finding(figures({ joint: arm(0.5, wide), decoupled: arm(0.56, other) })),
      /are level .* the 95 % intervals overlap/,
    );
  });

  it("uses the paired difference if there is one, since it cancels the effect of a seed on both arms", () => {
    const wide = { seeds: [0, 1, 2], interval: { knn: [0.4, 0.65] as [number, number] } };
    const arms = { joint: arm(0.5, wide), decoupled: arm(0.52, wide) };
    const paired = (interval: [number, number]): Figures => ({
      ...figures(arms),
      differences: [
        { arms: ["decoupled", "joint"], seeds: [0, 1, 2], knn: { mean: 0.02, interval, p: 0.05 } },
      ],
    });
    assert.match(finding(paired([0.01, 0.03])), /2\.0 points above joint \(3 seeds\)/);
    assert.match(
      finding(paired([-0.01, 0.05])),
      /are level .* the 95 % interval of their difference holds 0/,
    );
  });

  it("claims a small difference if the intervals of several seeds do not overlap", () => {
    const low = { seeds: [0, 1, 2], interval: { knn: [0.499, 0.501] as [number, number] } };
    const high = { seeds: [0, 1, 2], interval: { knn: [0.504, 0.506] as [number, number] } };
    assert.match(
      finding(figures({ joint: arm(0.5, low), decoupled: arm(0.505, high) })),
      /0\.5 points above joint \(3 seeds\)/,
    );
  });

  it("does not hide that nothing was learned", () => {
    assert.match(
      finding(figures({ joint: arm(0.3), decoupled: arm(0.305) })),
      /no better than the untrained encoder/,
    );
    assert.match(finding(figures({ decoupled: arm(0.2) })), /10\.0 points below the untrained encoder/);
  });

  it("compares the two best of other arms, and describes a single one", () => {
    const text = finding(figures({ a: arm(0.4), b: arm(0.5), c: arm(0.45) }));
    assert.match(text, /^B reaches a k-NN accuracy of 50\.0 %, 5\.0 points above c/);
    assert.match(
      finding(figures({ decoupled: arm(0.5) })),
      /^Decoupled reaches .* 20\.0 points above the untrained/,
    );
  });
});
