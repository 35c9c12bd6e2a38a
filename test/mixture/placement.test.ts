import assert from "node:assert/strict";
import { resolveConfig } from "../../src/config/load.ts";
import { choosePlacement, placementLine } from "../../src/mixture/placement.ts";

describe("where a mixture is computed", () => {
  const line = (settings: object, onGpu: boolean) =>
    placementLine(choosePlacement(resolveConfig(settings), onGpu));

  it("is in Node for a small one on a CPU, on the device for a large one, and on the device of a GPU", () => {
    const small = { plugin: { components: 1024 }, head: { dim: 64 } };
    const large = { plugin: { components: 65_536 }, head: { dim: 256 } };
    assert.equal(
      line(small, false),
      "The mixture is computed in Node (placement host: 1024 prototypes of dimension 64 are few).",
    );
    assert.equal(
      line(large, false),
      "The mixture is computed by PyTorch, where the embeddings are (placement device: 65536 prototypes of dimension 256 are many).",
    );
    for (const size of [small, large]) {
      assert.equal(
        line(size, true),
        "The mixture is computed by PyTorch, where the embeddings are (placement device: the embeddings are on a GPU).",
      );
    }
  });

  it("is the configured one, if any", () => {
    for (const onGpu of [true, false]) {
      assert.match(line({ placement: "host" }, onGpu), /in Node \(placement host: as configured\)/);
      assert.match(line({ placement: "device" }, onGpu), /\(placement device: as configured\)/);
    }
  });
});
