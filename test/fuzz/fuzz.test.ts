import assert from "node:assert/strict";
import { fuzzClient } from "./client.ts";
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

describe("a flood of generated answers", () => {
  it("ends a call of a real client with a BridgeError or not at all, and leaves its memory flat", async () => {
    const { python, typescript, memory } = await fuzzClient(7, 5000);
    for (const outcome of ["taken", "ProtocolError", "Rejected", "PeerLost", "BatchError"]) {
      assert.ok((python[outcome] ?? 0) > 0, `${outcome}: ${JSON.stringify(python)}`);
    }
    assert.ok((python["messages read"] ?? 0) > 2500, JSON.stringify(python));
    assert.ok((typescript.taken ?? 0) > 0 && (typescript["WireError shape"] ?? 0) > 0);
    assert.ok(memory.after - memory.warm < 50, JSON.stringify(memory));
  });
});
