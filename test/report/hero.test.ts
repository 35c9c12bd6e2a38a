import assert from "node:assert/strict";
import { heroPicture } from "../../src/report/hero.ts";
import { toPng } from "../../src/report/picture.ts";
import { armColors } from "../../src/report/theme.ts";
import { invented } from "./invented.ts";

describe("the hero picture", () => {
  it("is 1200 x 480, with every arm's curve twice in its colour and named", async () => {
    const svg = await heroPicture(invented());
    assert.match(svg, /^<svg [^>]*width="1200" height="480"/);
    for (const [name, color] of armColors(["joint", "decoupled"])) {
      assert.equal(svg.match(new RegExp(`d="M[^"]+L[^"]+" stroke="${color}"`, "g"))?.length, 2, name);
      assert.ok(svg.includes(`<tspan fill="${color}">●</tspan>\u00a0${name}`));
    }
    const png = Buffer.from(toPng(svg, 1));
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [1200, 480]);
  });
});

describe("the colours of arms", () => {
  it("stay the same whatever other arms are beside them, and differ", () => {
    const many = armColors(["a", "decoupled", "b", "joint", "frozen", "c"]);
    assert.equal(many.get("decoupled"), armColors(["decoupled"]).get("decoupled"));
    assert.equal(many.get("joint"), armColors(["joint", "x"]).get("joint"));
    assert.equal(new Set(many.values()).size, 6);
  });
});
