import assert from "node:assert/strict";
import { resolveConfig } from "../../src/config/load.ts";
import { methodProblem } from "../../src/config/methods.ts";
import { trainingScalars } from "../../src/experiment/training-clock.ts";

const block = (targets: object) => ({ method: "carp", carp: { balance: "block" }, targets });
const problem = (settings: object) => methodProblem(resolveConfig(settings));

describe("the configuration of a method", () => {
  it("has the method's targets unless it has its own", () => {
    const targets = (settings: object, ...overrides: string[]) => resolveConfig(settings, overrides).targets;
    const same = { from: "similarity", by: "rank", memory: 0 };
    assert.deepEqual(targets({ method: "swav" }), { ...same, temperature: 0.05, balance: "sinkhorn" });
    assert.deepEqual(targets({ method: "msn" }), { ...same, temperature: 0.025, balance: "sinkhorn" });
    assert.deepEqual(targets({ method: "ibot" }), targets({ method: "dino" }));
    assert.deepEqual(targets({ method: "msn", targets: { temperature: 0.2 } }, "targets.balance=none"), {
      ...same,
      temperature: 0.2,
      balance: "none",
    });
  });

  it("has the same targets in every arm of CARP, and its paper's by one word", () => {
    const carp = (...overrides: string[]) => resolveConfig({ method: "carp" }, overrides).targets;
    for (const prototypes of ["joint", "decoupled", "frozen"]) {
      const arm = `prototypes=${prototypes}`;
      assert.deepEqual(carp(arm), resolveConfig({}).targets, "Sinkhorn, .04");
      assert.equal(carp(arm, "targets.balance=none").temperature, 0.1);
    }
    assert.equal(carp("targets.balance=none", "targets.temperature=0.2").temperature, 0.2);
    assert.equal(resolveConfig({ targets: { balance: "none" } }).targets.temperature, 0.04, "of DINO");
  });

  it("has a rate at which it learns", () => {
    const rate = (settings: object, ...overrides: string[]) => resolveConfig(settings, overrides).train.lr;
    for (const prototypes of ["joint", "decoupled", "frozen"]) {
      assert.deepEqual(
        ["dino", "ibot", "carp", "swav", "msn", "pmsn"].map((method) => rate({ method, prototypes })),
        [0.003, 0.0003, 0.003, 0.001, 0.003, 0.003],
      );
    }
    assert.equal(rate({ train: { lr: 0.01 } }, "method=swav"), 0.01);
  });

  it("keeps a schedule that takes the place of the paper's temperature", () => {
    const schedule = { cosine: { from: 0.1, to: 0.05 } };
    assert.deepEqual(
      resolveConfig({ method: "swav", targets: { temperature: schedule } }).targets.temperature,
      schedule,
    );
  });

  it("is the same after reading its record", () => {
    const config = resolveConfig({ method: "carp" });
    assert.deepEqual(resolveConfig(config), config);
  });

  it("parts CARP's prototypes into equal blocks, or says which numbers can be", () => {
    for (const components of [16, 1024, 4088, 4096, 65_536])
      assert.equal(problem({ method: "carp", plugin: { components } }), null, `${components}`);
    for (const components of [8, 100, 4104])
      assert.match(
        problem({ method: "carp", plugin: { components } }) ?? "",
        /allowed: multiples of 8 from 16 to 4096, and multiples of 512/,
        `${components}`,
      );
  });

  it("says to the ranks how large CARP's blocks are", () => {
    const clock = { step: 0, steps: 10, epoch: 0 };
    const size = (settings: object) => trainingScalars(resolveConfig(settings))(clock).block;
    const sizes: [number, number][] = [
      [16, 2],
      [1024, 128],
      [4096, 512],
      [65_536, 512],
    ];
    for (const [components, expected] of sizes)
      assert.equal(size({ method: "carp", plugin: { components } }), expected, `${components}`);
    assert.equal(size({ method: "dino" }), undefined, "another method has none");
  });

  const wrong: [object, RegExp][] = [
    [{ method: "ibot", encoder: { name: "resnet18-32" } }, /resnet18-32 has no patches/],
    [{ method: "swav", targets: { balance: "center" } }, /balance is center; allowed: sinkhorn/],
    [{ method: "msn", targets: { balance: "center" } }, /balance is center; allowed: sinkhorn, none/],
    [{ method: "msn", targets: { memory: 64 } }, /msn balances each batch by itself: .* is 64; allowed: 0/],
    [{ method: "pmsn", targets: { from: "responsibility" } }, /from is responsibility; allowed: similarity/],
    [{ method: "msn", targets: { from: "plugin" } }, /from is plugin; allowed: similarity/],
    [{ prototypes: "frozen", train: { koleo: 1 } }, /koleo .*prototypes is frozen; allowed: joint/],
    [{ carp: { partition: "fixed" } }, /need method carp, .*: method is dino; allowed: carp/],
    [{ method: "swav", carp: { balance: "block" } }, /need method carp, .*: method is swav; allowed: carp/],
    [block({ balance: "center" }), /blocks: targets.balance is center; allowed: sinkhorn/],
    [block({ memory: 64 }), /blocks: targets.memory is 64; allowed: 0/],
    [block({ by: "plugin" }), /blocks: targets.by is plugin; allowed: rank/],
    [block({ from: "responsibility" }), /blocks: targets.from is responsibility; allowed: similarity/],
  ];
  for (const [settings, sentence] of wrong)
    it(`refuses ${JSON.stringify(settings)}`, () => assert.match(problem(settings) ?? "", sentence));

  it("finds nothing wrong with what can be trained", () => {
    for (const settings of [
      {},
      { method: "ibot", encoder: { name: "vit-tiny-32" } },
      { prototypes: "joint", train: { koleo: 1 } },
      { method: "msn", targets: { balance: "none" } },
      { method: "carp", carp: { partition: "fixed" }, targets: { by: "plugin", balance: "none" } },
      block({}),
    ])
      assert.equal(problem(settings), null);
  });
});
