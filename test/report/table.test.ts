import assert from "node:assert/strict";
import { comparisonTable } from "../../src/report/table.ts";
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

  it("shows intervals where there are several seeds", () => {
    assert.match(comparisonTable(invented({ seeds: 3 }).figures), /52\.3 % +51\.5 to 53\.1 %/);
  });
});
