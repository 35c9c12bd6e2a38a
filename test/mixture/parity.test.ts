import assert from "node:assert/strict";
import { openBackend } from "../../src/backend/backend.ts";
import type { NamedTensors } from "../../src/files/tensors.ts";
import { Device } from "../../src/mixture/device.ts";
import { DeviceEdge } from "../../src/mixture/device-edge.ts";
import type { EdgeAnswer } from "../../src/mixture/edge.ts";
import { HostEdge } from "../../src/mixture/host-edge.ts";
import type { MixtureOptions, MixtureParts } from "../../src/mixture/mixture.ts";
import { onEachBackend } from "../backend/available.ts";
import {
  at,
  byDimension,
  clusteredRows,
  covariances,
  difference,
  matrix,
  options,
  type Settings,
  strengthAt,
} from "../plugins/support.ts";
import { begin, type ReferenceOptions, step as referenceStep } from "../reference/online-gmm-float64.ts";
import { DeviceRank, EdgeRoom, serving } from "./device-rank.ts";
import { D, K, kinds, N, parts } from "./support.ts";

const STEPS = 20;
const TOLERANCE = 1e-4;

/** What a mixture went through: the prototypes after each step, entropies and targets, and its state at the end. */
interface Trajectory {
  prototypes: number[][];
  entropies: number[];
  targets: number[][];
  state: NamedTensors;
}

const rows = (step: number) => clusteredRows(N, D, step);
const clock = (step: number) => at(step, STEPS);
const defaults = { dim: D, seed: 3 };

/** In this process, on the backend that is active. */
async function onHost(of: MixtureParts, more: Partial<MixtureOptions> = {}): Promise<Trajectory> {
  const edge = await HostEdge.open(of, { ...defaults, ...more });
  const found: Trajectory = { prototypes: [], entropies: [], targets: [], state: {} };
  for (let step = 0; step < STEPS; step++) {
    const data = Float32Array.from(rows(step).flat());
    const answer: EdgeAnswer = await edge.step({ rows: { data, n: N, d: D } }, clock(step));
    found.prototypes.push([...(await edge.prototypes()).data]);
    found.entropies.push(answer.scalars.entropy ?? 0);
    found.targets.push([...(answer.targets?.data ?? [])]);
  }
  found.state = await edge.state();
  edge.dispose();
  return found;
}

/** On a rank's device. */
async function onDevice(
  rank: DeviceRank,
  of: MixtureParts,
  more: Partial<MixtureOptions> = {},
): Promise<Trajectory> {
  const edge = await DeviceEdge.open(of, { ...defaults, ...more }, new Device());
  const room = new EdgeRoom(edge, clock);
  room.save = true;
  const server = await serving(room);
  const found: Trajectory = { prototypes: [], entropies: [], targets: [], state: {} };
  try {
    await rank.join(server.endpoint);
    for (let step = 0; step < STEPS; step++) {
      const { prototypes, targets, scalars } = await rank.take(step, rows(step));
      found.prototypes.push([...prototypes.data]);
      found.targets.push([...(targets?.data ?? [])]);
      if (step > 0) found.entropies.push(scalars.entropy ?? 0);
    }
    found.state = (await room.saved.at(-1)) ?? {};
    assert.deepEqual(room.failures, []);
    await rank.leave();
  } finally {
    await server.close();
  }
  return found;
}

function same(found: Trajectory, expected: Trajectory, where: string): void {
  for (const [step, prototypes] of expected.prototypes.entries()) {
    const apart = difference(found.prototypes[step] ?? [], prototypes);
    assert.ok(apart < TOLERANCE, `prototypes of step ${step} differ by ${apart}: ${where}`);
    const targets = difference(found.targets[step] ?? [], expected.targets[step] ?? []);
    assert.ok(targets < 10 * TOLERANCE, `targets of step ${step} differ by ${targets}: ${where}`);
  }
  // A device's come one step late, but for the first ones of a mixture that begins at the data.
  const entropies = (of: Trajectory) => of.entropies.slice(5, STEPS - 1);
  assert.ok(difference(entropies(found), entropies(expected)) < TOLERANCE, `entropies: ${where}`);
  assert.deepEqual(Object.keys(found.state).sort(), Object.keys(expected.state).sort());
  for (const [name, { data }] of Object.entries(expected.state)) {
    if (name === "plugin.progress") continue; // a dense step leaves out what a narrow one needs
    const apart = difference([...(found.state[name]?.data ?? [])], [...data]);
    assert.ok(apart < TOLERANCE, `${name} differ by ${apart}: ${where}`);
  }
}

/** Every combination of the options that change the equations. */
const combinations = covariances.flatMap((covariance) =>
  (["responsibility", "time", "nothing"] as const).flatMap((by) =>
    (["uniform", "estimated"] as const).flatMap((weights) =>
      [0, 0.02].map(
        (cutoff): Settings => ({
          components: K,
          covariance,
          variance: 0.1,
          floor: 1e-3,
          weights,
          forgetting: { by, retention: 0.9 },
          annealing: { cosine: { from: 0.5, to: 1, steps: 10 } },
          prior: { strength: { step: { from: 5, at: [3, 11], factor: 0.5 } } },
          init: { count: 2, variance: 0.05 },
          cutoff,
          use: { share: 0 },
        }),
      ),
    ),
  ),
);

/** The same trajectory in float64: prototypes, means, counts, weights and variances. */
async function checkAgainstFloat64(
  settings: Settings,
  run: (of: MixtureParts) => Promise<Trajectory>,
): Promise<void> {
  const given = options(settings, { dim: D });
  const { init, ...rest } = given;
  const reference: ReferenceOptions = {
    ...rest,
    count: init.count,
    initialVariance: init.variance === "1/D" ? 1 / D : init.variance,
  };
  const start = await HostEdge.open(parts(settings), defaults);
  const means = matrix(await start.state(), "plugin.means");
  start.dispose();
  const found = await run(parts(settings));
  const where = JSON.stringify(settings);
  let components = begin(means, means, reference);
  for (let step = 0; step < STEPS; step++) {
    const schedule = { beta: given.annealing(clock(step)), a: strengthAt(given, clock(step)) };
    ({ components } = referenceStep(rows(step), components, schedule, reference));
    const apart = difference(
      found.prototypes[step] ?? [],
      components.flatMap(({ c }) => c),
    );
    assert.ok(apart < TOLERANCE, `prototypes of step ${step} are ${apart} from float64's: ${where}`);
  }
  const expected: Record<string, number[]> = {
    means: components.flatMap(({ mu }) => mu),
    counts: components.map(({ n }) => n),
    weights: components.map(({ pi }) => pi),
    ...(settings.covariance !== "shared" && { variances: components.flatMap(({ sigma2 }) => sigma2) }),
  };
  for (const [name, values] of Object.entries(expected)) {
    const tensor = found.state[`plugin.${name}`] ?? assert.fail(`no ${name}: ${where}`);
    const apart = difference(name === "variances" ? byDimension(tensor, D) : [...tensor.data], values);
    assert.ok(apart < TOLERANCE, `${name} are ${apart} from float64's: ${where}`);
  }
}

describe("the trajectory of an EM", function () {
  this.timeout(120_000);
  let rank: DeviceRank;
  before(async () => {
    await openBackend("wasm");
    rank = await DeviceRank.start();
  });
  after(() => rank.kill());

  for (const covariance of covariances) {
    it(`on a rank's device is that of float64: ${covariance}, whatever the other options`, async () => {
      for (const settings of combinations.filter((each) => each.covariance === covariance))
        await checkAgainstFloat64(settings, (of) => onDevice(rank, of));
    });
  }

  onEachBackend("in Node", () => {
    for (const covariance of covariances) {
      it(`is that of float64: ${covariance}, whatever the other options`, async () => {
        for (const settings of combinations.filter((each) => each.covariance === covariance))
          await checkAgainstFloat64(settings, onHost);
      });
    }

    const others: Record<string, Settings> = {
      ...kinds,
      "begun at the data": {
        kind: "online-gmm",
        variance: 0.1,
        init: { from: "data" },
        components: 2 * N + 3,
      },
      "idle ones start again": {
        kind: "online-gmm",
        covariance: "diagonal",
        weights: "estimated",
        floor: 1e-3,
        use: { share: { linear: { from: 0.1, to: 1, steps: 5 } }, idle: 2 },
      },
      "in blocks": { kind: "online-gmm", covariance: "diagonal", floor: 1e-3, block: 7 },
    };
    for (const [kind, settings] of Object.entries(others)) {
      for (const [from, balance, memory] of [
        ["similarity", "sinkhorn", 0],
        ["similarity", "sinkhorn", 100],
        ["responsibility", "center", 0],
      ] as const) {
        it(`is the same there and on a rank's device: ${kind}; targets from ${from}, ${balance}, ${memory}`, async () => {
          const of = parts(settings, { from, balance, memory, by: "plugin", temperature: 0.1 });
          same(await onDevice(rank, of, { use: true }), await onHost(of, { use: true }), kind);
        });
      }
    }

    it("begins on a device at the prototypes that are given", async () => {
      const start = { data: Float32Array.from(clusteredRows(K, D, 99).flat()), n: K, d: D };
      const of = parts({ kind: "online-gmm", covariance: "spherical", floor: 1e-3 });
      same(await onDevice(rank, of, { start }), await onHost(of, { start }), "given");
    });
  });
});
