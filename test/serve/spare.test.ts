import assert from "node:assert/strict";
import { openBackend } from "../../src/backend/backend.ts";
import { MixtureRoom } from "../../src/serve/room.ts";
import { settingsFor } from "../../src/serve/settings.ts";
import { Spare } from "../../src/serve/spare.ts";

const K = 65_536;
/** Rows a step, enough for any use here. */
const MANY = 2 * K;

describe("how many components would be enough", () => {
  /** What is told in so many steps, and after which. */
  function told(
    steps: number,
    used: (step: number) => number,
    { components = K, rows = MANY } = {},
  ): [step: number, enough: number][] {
    const spare = new Spare(components);
    return Array.from({ length: steps }, (_, index) => index + 1).flatMap((step) => {
      const enough = spare.note(used(step), rows);
      return enough === null ? [] : [[step, enough] as [number, number]];
    });
  }

  it("is suggested once, when use was steady in the second half of the steps: a power of two, twice the number in use", () => {
    assert.deepEqual(
      told(50_000, () => 0.05),
      [[10_000, 8192]],
    );
  });

  it("is based on the largest number in use", () => {
    const twelfth = (step: number) => (step === 7000 ? 0.13 : 0.124);
    assert.deepEqual(told(10_000, twelfth), [[10_000, 32_768]]);
  });

  it("is suggested if use varies from step to step but is steady on the whole", () => {
    const varying = (step: number) => (24 + (step % 5)) / 1024;
    assert.deepEqual(told(10_000, varying, { components: 1024 }), [[10_000, 256]]);
  });

  it("is never below 256", () => {
    assert.deepEqual(
      told(10_000, () => 5 / 1024, { components: 1024 }),
      [[10_000, 256]],
    );
    assert.deepEqual(
      told(50_000, () => 5 / 400, { components: 400 }),
      [],
    );
  });

  it("waits while use grows, as slowly as on CIFAR-10, and looks again when the steps have doubled", () => {
    const growing = (step: number) => Math.min(0.05 + step / 250_000, 0.13);
    assert.deepEqual(told(39_999, growing), []);
    assert.deepEqual(told(40_000, growing), [[40_000, 32_768]]);
  });

  it("does not take a fall in use for a steady use", () => {
    assert.deepEqual(
      told(10_000, (step) => (step < 7000 ? 0.2 : 0.1)),
      [],
    );
  });

  it("is not reported if more than a quarter is in use", () => {
    assert.deepEqual(
      told(50_000, () => 0.26),
      [],
    );
  });

  it("is not reported if there are too few rows to call a component idle", () => {
    const inUse = 0.05 * K;
    const enough = (inUse * 100) / 500;
    assert.deepEqual(
      told(10_000, () => 0.05, { rows: 0.95 * enough }),
      [],
    );
    assert.equal(told(10_000, () => 0.05, { rows: 1.05 * enough }).length, 1);
  });
});

describe("a room", () => {
  before(() => openBackend("wasm"));

  /** What a mixture's room tells in 10,000 steps, whose rows are near one direction. */
  async function told(kind: string): Promise<[step: number, enough: number][]> {
    const hello = {
      ...{ run: "r", mixture: "default", rank: 0, world: 1, components: 512, dim: 2, start: "" },
      ...{ config: JSON.stringify({ plugin: { kind } }), secret: "", executor: 0, device: "" },
    };
    const room = await MixtureRoom.open(hello, undefined, {
      settingsFor: (each) => settingsFor(each, { given: {}, source: "settings" }),
      makeRoom: () => {},
      ended: () => {},
      log: () => {},
    });
    const found: [number, number][] = [];
    const rows = { n: 2, d: 2, data: Float32Array.of(1, 0, 1, 0) };
    for (let step = 0; step < 10_000; step++) {
      const { enoughComponents } = (await room.step({ step, epoch: 0, rows, scalars: [] })).scalars;
      if (enoughComponents !== undefined) found.push([step + 1, enoughComponents]);
    }
    room.dispose();
    return found;
  }

  it("suggests a number of components with the answer to the step that shows it", async () => {
    assert.deepEqual(await told("online-gmm"), [[10_000, 256]]);
  });

  it("suggests nothing for frozen prototypes", async () => {
    assert.deepEqual(await told("frozen"), []);
  });
});
