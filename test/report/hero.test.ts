import assert from "node:assert/strict";
import { heroPicture } from "../../src/report/hero.ts";
import { sideBySide, toPng } from "../../src/report/picture.ts";
import { armColors } from "../../src/report/theme.ts";
import { invented } from "./invented.ts";

describe("the hero picture", () => {
  it("is 1200 x 480, with every arm's three curves in its colour and named", async () => {
    const svg = await heroPicture(invented());
    assert.match(svg, /^<svg [^>]*width="1200" height="480"/);
    for (const [name, color] of armColors(["joint", "decoupled"])) {
      assert.equal(svg.match(new RegExp(`d="M[^"]+L[^"]+" stroke="${color}"`, "g"))?.length, 3, name);
      assert.ok(svg.includes(`<tspan fill="${color}">●</tspan>\u00a0${name}`));
    }
    const png = Buffer.from(toPng(svg, 1));
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [1200, 480]);
  });
});

describe("the legend of panels beside each other", () => {
  it("stands below the title in rows if the title's line is too short, and the panels below it", () => {
    const legendOf = (count: number) => {
      const names = Array.from({ length: count }, (_, at) => `an arm with a long name, ${at}`);
      return sideBySide(
        "title",
        ["<svg/>", "<svg/>"],
        { width: 370, height: 260 },
        { legend: armColors(names) },
      );
    };
    assert.match(legendOf(2), /viewBox="0 0 800 320"[\s\S]*text-anchor="end"/);
    assert.match(legendOf(7), /viewBox="0 0 800 360"[\s\S]*<svg x="20" y="80"/);
    assert.deepEqual(
      [...legendOf(7).matchAll(/<text x="(\d+)" y="(\d+)" font-size="12"/g)].map(([, x, y]) => `${x} ${y}`),
      ["24 50", "214 50", "404 50", "594 50", "24 70", "214 70", "404 70"],
    );
  });
});

describe("the right half of the hero picture", () => {
  const dashed = /stroke-dasharray="4,4"/g;

  it("draws distinctUsed, and unique as a dashed line", async () => {
    const svg = await heroPicture(invented());
    assert.match(svg, />distinct and used at 0\.5; dashed: unique</);
    assert.equal(svg.match(dashed)?.length, 2);
  });

  it("draws unique alone for a run of a version without distinctUsed", async () => {
    const now = invented();
    const arms = now.arms.map(({ trainings, ...arm }) => ({
      ...arm,
      trainings: trainings.map(({ seed, measurements }) => ({
        seed,
        measurements: measurements.map(({ distinctUsed: _, ...measurement }) => measurement),
      })),
    }));
    const svg = await heroPicture({ ...now, arms });
    assert.match(svg, />unique prototypes at distance 0\.5</);
    assert.doesNotMatch(svg, dashed);
  });
});

describe("the colours of arms", () => {
  it("stay the same whatever other arms are beside them, and differ", () => {
    const many = armColors(["a", "decoupled", "b", "joint", "frozen", "c"]);
    assert.equal(many.get("decoupled"), armColors(["decoupled"]).get("decoupled"));
    assert.equal(many.get("joint"), armColors(["joint", "x"]).get("joint"));
    assert.equal(new Set(many.values()).size, 6);
  });

  it("distinguish 19 arms, and remain different and legible on paper for 30", () => {
    const colors = [...armColors(Array.from({ length: 30 }, (_, arm) => `arm ${arm}`)).values()];
    assert.equal(new Set(colors).size, 30);
    for (const color of colors) {
      assert.match(color, /^#[0-9a-f]{6}$/);
      assert.ok(contrast(color) > 2.2, `${color} has a contrast of ${contrast(color)}`);
    }
    const usual = armColors(["decoupled", "joint", "frozen"]).values();
    const shown = [...usual, ...colors.slice(0, 16)].map(channels);
    for (const [at, one] of shown.entries()) {
      for (const other of shown.slice(0, at)) {
        const apart = Math.hypot(...one.map((value, channel) => value - (other[channel] ?? 0)));
        assert.ok(apart > 20, `${one} and ${other}`);
      }
    }
  });

  const channels = (color: string) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
  /** Of a colour on white, as WCAG has it. */
  function contrast(color: string): number {
    const [r = 0, g = 0, b = 0] = channels(color).map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05);
  }
});
