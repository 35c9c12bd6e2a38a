import assert from "node:assert/strict";
import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { effectiveRank, perplexityOf } from "../../src/metrics/rank.ts";
import { randomRows, rowsOf, vectorsOf } from "./rows.ts";

function near(value: number, expected: number, tolerance = 1e-6): void {
  assert.ok(Math.abs(value - expected) <= tolerance, `${value} is not ${expected}`);
}

describe("effective rank", () => {
  it("is the number of directions of an orthogonal set, whatever their lengths", async () => {
    near(
      await effectiveRank(
        rowsOf([
          [2, 0, 0],
          [0, 5, 0],
          [0, 0, -1],
        ]),
      ),
      3,
    );
    near(
      await effectiveRank(
        rowsOf([
          [1, 0, 0, 0],
          [0, 1, 0, 0],
        ]),
      ),
      2,
    );
  });

  it("is 1 if all prototypes are one direction", async () => {
    near(await effectiveRank(rowsOf(Array(300).fill([1, 2, 3, 4, 5, 6]))), 1, 1e-5);
    near(
      await effectiveRank(
        rowsOf([
          [1, 1],
          [-1, -1],
        ]),
      ),
      1,
      1e-5,
    );
  });

  it("is exp of the entropy of the singular values that a plain decomposition finds", async () => {
    for (const [K, D] of [
      [40, 12],
      [12, 40],
    ] as const) {
      const prototypes = randomRows(K, D, K, 9);
      const unit = vectorsOf(prototypes).map((row) => row.map((x) => x / Math.hypot(...row)));
      const { diagonal } = new SingularValueDecomposition(new Matrix(unit), { autoTranspose: true });
      near(await effectiveRank(prototypes), perplexityOf(diagonal));
    }
  });
});
