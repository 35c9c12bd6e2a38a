import assert from "node:assert/strict";
import { type Diagnosis, diagnosisTable, diagnosisWords } from "../../src/report/diagnosis.ts";
import { drawDiagnosis } from "../../src/report/diagnosis-plot.ts";

const K = 1000;
const healthy: Diagnosis = {
  prototypes: K,
  dim: 64,
  unique: { "0.025": 1, "0.1": 1, "0.25": 0.99, "0.5": 0.9 },
  nearest: { median: 0.6, p01: 0.4 },
  effectiveRank: 63,
};
const collapsed = { ...healthy, unique: { "0.025": 0.015, "0.1": 0.015, "0.25": 0.01, "0.5": 0.01 } };
const crowded = { ...healthy, unique: { "0.025": 1, "0.1": 0.9, "0.25": 0.6, "0.5": 0.08 } };

describe("the words of a diagnosis", () => {
  it("count what is left of a collapsed layer and say what to do", () => {
    assert.match(diagnosisWords(collapsed), /^Of 1,000 prototypes 15 are truly distinct.* Choose an output/s);
  });

  it("distinguish a partial collapse from a whole one", () => {
    assert.match(diagnosisWords(crowded), /few.* copies \(100 %.*80 remain.*partial collapse/is);
  });

  it("do not take distinct for useful", () => {
    assert.match(diagnosisWords({ ...healthy, used: 0.1 }, 50 * K), /only 10 % win any/);
    assert.match(diagnosisWords({ ...healthy, used: 0.9 }, 50 * K), /90 % of them win .* nothing to repair/);
    assert.match(diagnosisWords(healthy), /Whether they are used is another question/);
  });

  it("find a crowd among the winners, which idle prototypes hide", () => {
    const used = { ...healthy, used: 0.6, distinctUsed: { "0.5": 0.1 } };
    const words = diagnosisWords(used, 50 * K);
    assert.match(words, /used ones crowd: 60 % win any .* only 100 of these remain .* partial collapse/);
    assert.equal(words.split(/\. (?=[A-Z0-9])/).length, 2);
    const apart = { ...used, distinctUsed: { "0.5": 0.55 } };
    assert.match(
      diagnosisWords(apart, 50 * K),
      /60 % of them win .*, 55 % win one and are distinct at 0\.5, so/,
    );
    const few = { ...used, used: 0.1, distinctUsed: { "0.5": 0.08 } };
    assert.match(
      diagnosisWords(few, 50 * K),
      /only 10 % win any .*, 8\.0 % win one and are distinct at 0\.5: the rest/,
    );
  });

  it("do not judge use by fewer embeddings than could show it", () => {
    assert.match(diagnosisWords({ ...healthy, used: 0.1 }, K), /2,000 embeddings or more/);
  });

  it("are two sentences, whatever was found", () => {
    for (const found of [collapsed, crowded, healthy]) {
      const sentences = diagnosisWords(found).split(/\. (?=[A-Z0-9])/);
      assert.equal(sentences.length, 2, diagnosisWords(found));
    }
  });
});

describe("the table of a diagnosis", () => {
  it("has counts and shares by epsilon, and usage only if it was measured", () => {
    const table = diagnosisTable(collapsed);
    assert.match(
      table,
      /distinct at distance +0\.025 +0\.1 +0\.25 +0\.5\nprototypes +15 +15 +10 +10\nshare +1\.5 %/,
    );
    assert.doesNotMatch(table, /used/);
    assert.match(
      diagnosisTable({ ...collapsed, used: 0.25, perplexity: 40 }),
      /used prototypes +25 %\n.* 40 of 1,000/,
    );
    assert.doesNotMatch(table, /and used/);
    const distinctUsed = { "0.025": 0.012, "0.1": 0.012, "0.25": 0.008, "0.5": 0.006 };
    assert.match(
      diagnosisTable({ ...collapsed, used: 0.25, distinctUsed }),
      /and used +12 +12 +8 +6\nshare +1\.2 %/,
    );
  });
});

describe("the picture of a diagnosis", () => {
  const content = {
    title: "head.pth: <K> prototypes",
    words: "Words.",
    table: "table",
    unique: [0.01, 0.1, 1].map((epsilon) => [epsilon, 1 - epsilon / 2] as const),
    nearest: [0.1, 0.2, 0.2, Number.NaN],
  };

  it("is SVG with the curve, a bar for each filled bin, and the published models by name", async () => {
    const svg = String(await drawDiagnosis(content, ".svg"));
    assert.match(svg, /^<svg /);
    assert.match(svg, /head\.pth: &lt;K&gt; prototypes/);
    for (const name of ["DINO 1.5 %, DINOv2 1.0 %", "CARP 10.8 %", "CAPI 39 %"])
      assert.ok(svg.includes(name), name);
    assert.match(svg, /mark-line.*?d="M[^"]+L/s);
  });

  it("has a dashed curve for the used prototypes, if they are known", async () => {
    const dashed = /mark-line.*?stroke-dasharray="6,4"/s;
    assert.doesNotMatch(String(await drawDiagnosis(content, ".svg")), dashed);
    const distinctUsed = content.unique.map(([epsilon, share]) => [epsilon, share / 2] as const);
    assert.match(String(await drawDiagnosis({ ...content, distinctUsed }, ".svg")), dashed);
  });

  it("is a PNG or a page on request", async () => {
    const png = await drawDiagnosis(content, ".png");
    assert.ok(png instanceof Uint8Array);
    assert.equal(Buffer.from(png).toString("latin1", 1, 4), "PNG");
    assert.match(String(await drawDiagnosis(content, ".html")), /^<!doctype html>.*<figure>.*<figure>/s);
  });
});
