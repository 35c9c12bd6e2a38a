import assert from "node:assert/strict";
import { comparisonTable, groupsTable } from "../../src/report/table.ts";
import { invented } from "./invented.ts";

describe("the comparison table", () => {
  it("has a line for each arm and the untrained encoder, in aligned columns", () => {
    const lines = comparisonTable(invented().figures).split("\n");
    assert.deepEqual(
      lines.map((line) => line.split(/ {2,}/)[0]),
      ["", "untrained", "joint", "decoupled"],
    );
    assert.match(lines[1] ?? "", /30\.8 %$/);
    assert.match(lines[3] ?? "", /56\.1 % .* 28 % .* 70 % .* 5,000 .* 43 min$/);
    assert.equal(lines[2]?.length, lines[3]?.length);
    assert.equal(lines[0]?.indexOf("used"), lines[3]?.indexOf("70 %") ?? -1);
  });

  it("has distinctUsed before unique, with a dash for an older run without it", () => {
    const { figures } = invented();
    const { joint, decoupled } = figures.arms;
    assert.ok(joint && decoupled);
    const { distinctUsed, ...older } = joint;
    assert.equal(distinctUsed?.["0.5"], 0.05);
    const lines = comparisonTable({ ...figures, arms: { joint: older, decoupled } }).split("\n");
    assert.match(lines[0] ?? "", /k-NN +distinctUsed 0\.5 +unique 0\.025/);
    assert.match(lines[2] ?? "", /52\.3 % +– +100 %/);
    assert.match(lines[3] ?? "", /56\.1 % +20 % +100 %/);
  });

  it("shows intervals if there are several seeds", () => {
    assert.match(comparisonTable(invented({ seeds: 3 }).figures), /52\.3 % +51\.5 to 53\.1 %/);
  });

  it("has linear accuracy beside k-NN, blank for an arm that was not probed", () => {
    const { figures } = invented({ seeds: 3 });
    const { joint, decoupled } = figures.arms;
    assert.ok(joint?.interval && decoupled);
    const probed = {
      ...joint,
      linear: 0.6,
      interval: { ...joint.interval, linear: [0.59, 0.61] as [number, number] },
    };
    const [headings, , ...lines] = comparisonTable({ ...figures, arms: { joint: probed, decoupled } }).split(
      "\n",
    );
    assert.match(headings ?? "", /k-NN +95 % interval +linear +95 % interval +distinctUsed 0\.5 +unique/);
    assert.match(lines[0] ?? "", /53\.1 % +60\.0 % +59\.0 to 61\.0 % +5\.0 % +100 %/);
    assert.match(lines[1] ?? "", /56\.9 % {20,}\d/);
    assert.equal(lines[0]?.length, lines[1]?.length);
  });

  it("has head, medium and tail in a table of their own, if the training set is long-tailed", () => {
    const { figures } = invented();
    assert.equal(groupsTable(figures), "");
    const { joint } = figures.arms;
    assert.ok(joint);
    const part = (share: number | null) => ({ knn: share, linear: share });
    const groups = { head: part(0.7), medium: part(0.5), tail: part(null) };
    const arm = { ...joint, linear: 0.6, groups, balanced: { knn: 0.55, linear: 0.65, groups } };
    const lines = groupsTable({ ...figures, arms: { joint: arm } }).split("\n");
    assert.match(lines[0] ?? "", /^ +k-NN +head +medium +tail +linear +head +medium +tail$/);
    assert.match(lines[1] ?? "", /^joint +52\.3 % +70\.0 % +50\.0 % +60\.0 % +70\.0 % +50\.0 %$/);
    assert.match(lines[2] ?? "", /^joint, balanced references +55\.0 % /);
  });
});
