import assert from "node:assert/strict";
import { fuzz } from "./fuzz.ts";

describe("a flood of generated messages", () => {
  it("leaves the server up, its memory flat, and the legitimate client's results the same to the bit", async () => {
    const { answers, memory, flooded, alone } = await fuzz(7, 10_000);
    assert.ok(flooded.steps > 0);
    assert.deepEqual(flooded.hash, alone.hash);
    assert.ok(memory.after - memory.warm < 150, JSON.stringify(memory));
    for (const code of ["reject shape", "reject version", "reject busy", "error shape", "welcome"]) {
      assert.ok((answers[code] ?? 0) > 0, `${code}: ${JSON.stringify(answers)}`);
    }
  });
});
