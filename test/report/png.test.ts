import assert from "node:assert/strict";
import { Resvg } from "@resvg/resvg-js";
import { encodePng } from "../../src/report/png.ts";

describe("the PNG of pixels", () => {
  it("is read back, pixel for pixel, by an independent decoder", () => {
    const [width, height] = [5, 3];
    const rgb = Uint8Array.from({ length: 3 * width * height }, (_, at) => (at * 37) % 256);
    const url = `data:image/png;base64,${encodePng(width, height, rgb).toString("base64")}`;
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><image href="${url}" width="${width}" height="${height}"/></svg>`;
    const rgba = new Resvg(svg).render().pixels;
    assert.deepEqual(
      Array.from(rgba).filter((_, at) => at % 4 < 3),
      Array.from(rgb),
    );
  });

  it("refuses pixels that do not fill it", () => {
    assert.throws(() => encodePng(2, 2, new Uint8Array(11)), /11 bytes do not fill 2 x 2/);
  });
});
