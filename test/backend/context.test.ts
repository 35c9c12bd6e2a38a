import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";
import { withBackend } from "../../src/backend/context.ts";
import { Recorded } from "./torch/recorded.ts";

describe("withBackend", () => {
  before(() => openBackend("wasm"));

  it("keeps two devices and the host apart, whose work takes turns at each await", async () => {
    const devices = [new Recorded(), new Recorded()];
    const log: string[] = [];
    const work = async (name: string) => {
      for (let step = 0; step < 5; step++) {
        const x = tf.exp(tf.scalar(0));
        log.push(name);
        await sleep(1);
        assert.equal(tf.getBackend(), name === "host" ? "wasm" : "torch");
        tf.sin(x);
        await Promise.resolve();
      }
    };
    await Promise.all([...devices.map((device, at) => device.on(() => work(`device ${at}`))), work("host")]);
    assert.deepEqual(log.slice(0, 6), ["device 0", "device 1", "host", ...log.slice(3, 6)]);
    assert.equal(new Set(log.slice(3, 6)).size, 3);
    for (const { backend } of devices)
      assert.equal(backend.numDataIds(), 2 * 5 + 5, "x, sin x, and the zeros");
    assert.deepEqual(await tf.exp(tf.scalar(0)).data(), Float32Array.of(1));
  });

  it("gives what `work` gives, and is over when it throws", () => {
    const device = new Recorded();
    assert.equal(
      device.on(() => tf.getBackend()),
      "torch",
    );
    assert.throws(() =>
      device.on(() => {
        throw new Error("no");
      }),
    );
    assert.equal(tf.getBackend(), "wasm");
  });

  it("may be nested, and leaves what tf.setBackend chooses outside", async () => {
    const host = tf.backend();
    const device = new Recorded();
    await device.on(async () => {
      await tf.setBackend("wasm");
      assert.equal(tf.getBackend(), "torch");
      assert.equal(
        withBackend("wasm", host, () => tf.getBackend()),
        "wasm",
      );
      assert.equal(tf.getBackend(), "torch");
    });
    assert.equal(tf.getBackend(), "wasm");
  });

  it("moves a tensor of the host's to the device that uses it", () => {
    const x = tf.tensor1d([1, 2, 3]);
    const device = new Recorded();
    const run = device.runOf(() => tf.exp(x));
    assert.deepEqual(run?.literals, [1, 2, 3]);
    x.dispose();
    assert.equal(device.backend.numDataIds(), 1);
  });
});
