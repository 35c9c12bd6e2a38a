import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { onlineGmm } from "../../src/plugins/online-gmm.ts";
import { onEachBackend } from "../backend/available.ts";
import { writeNpy } from "../files/write-npy.ts";
import { begin, type Component, type ReferenceOptions, step } from "../reference/online-gmm-float64.ts";
import { runPython } from "../reference/python.ts";
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
  take,
} from "./support.ts";

const K = 12;
const D = 8;
const STEPS = 6;

/** Every combination of the options that change the equations. */
const combinations = covariances.flatMap((covariance) =>
  (["responsibility", "time", "nothing"] as const).flatMap((by) =>
    (["uniform", "estimated"] as const).flatMap((weights) =>
      [0, 5].flatMap((strength) =>
        [0, 0.02].map((cutoff) => ({ covariance, by, weights, strength, cutoff })),
      ),
    ),
  ),
);

function settingsOf(combination: (typeof combinations)[number]): Settings {
  const { covariance, by, weights, strength, cutoff } = combination;
  return {
    components: K,
    covariance,
    variance: 0.1,
    floor: 1e-3,
    weights,
    forgetting: { by, retention: 0.9 },
    annealing: { cosine: { from: 0.5, to: 1, steps: 4 } },
    init: { count: 2, variance: 0.05 },
    // The strength falls, so that means of untouched components have to follow it too.
    prior: { strength: strength === 0 ? 0 : { step: { from: strength, at: [3], factor: 0.5 } } },
    cutoff,
  };
}

function referenceOptions(settings: ReturnType<typeof options>): ReferenceOptions {
  const { init, ...rest } = settings;
  return { ...rest, count: init.count, initialVariance: init.variance === "1/D" ? 1 / D : init.variance };
}

onEachBackend("online-gmm against the float64 reference", () => {
  for (const covariance of covariances) {
    it(`walks the same trajectory with ${covariance} covariance, whatever the other options`, async () => {
      for (const combination of combinations.filter((one) => one.covariance === covariance)) {
        const settings = options(settingsOf(combination), { dim: D });
        const plugin = onlineGmm(settings);
        const start = await plugin.state();
        const means = matrix(start, "means");
        let components = begin(means, means, referenceOptions(settings));
        for (let t = 0; t < STEPS; t++) {
          const rows = clusteredRows(24, D, t);
          const schedule = { beta: settings.annealing(at(t)), a: strengthAt(settings, at(t)) };
          const expected = step(rows, components, schedule, referenceOptions(settings));
          const { r, scalars } = await take(plugin, rows, at(t));
          components = expected.components;
          const where = `${JSON.stringify(combination)}, step ${t}`;
          assert.ok(difference(r.flat(), expected.r.flat()) < 1e-4, `responsibilities, ${where}`);
          assert.ok(Math.abs((scalars.entropy ?? 0) - meanEntropy(expected.r)) < 1e-4, `entropy, ${where}`);
          assert.equal(scalars.beta, schedule.beta);
        }
        await same(plugin.parameters(), components, combination);
        plugin.dispose();
      }
    });
  }
});

function meanEntropy(r: number[][]): number {
  const of = (row: number[]) =>
    -row.reduce((sum, value) => sum + (value > 0 ? value * Math.log(value) : 0), 0);
  return r.reduce((sum, row) => sum + of(row), 0) / r.length;
}

async function same(
  parameters: ReturnType<ReturnType<typeof onlineGmm>["parameters"]>,
  components: Component[],
  { covariance, ...others }: { covariance: string },
): Promise<void> {
  const found = await parameters;
  const expected: Record<string, number[]> = {
    prototypes: components.flatMap(({ c }) => c),
    means: components.flatMap(({ mu }) => mu),
    counts: components.map(({ n }) => n),
    weights: components.map(({ pi }) => pi),
    ...(covariance !== "shared" && { variances: components.flatMap(({ sigma2 }) => sigma2) }),
  };
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
  for (const [name, values] of Object.entries(expected)) {
    const tensor = found[name] ?? assert.fail(name);
    const apart = difference(name === "variances" ? byDimension(tensor, D) : [...tensor.data], values);
    assert.ok(apart < 1e-4, `${name} differ by ${apart}, ${covariance} ${JSON.stringify(others)}`);
  }
}

const history = z.array(
  z.object({ means: z.array(z.number()), variances: z.array(z.number()), weights: z.array(z.number()) }),
);

/** lambda = 0, rho = 1, beta = 1, a = 0, floor = 0: classical EM where the batch is all there is. */
describe("online-gmm against scikit-learn's GaussianMixture", function () {
  this.timeout(60_000);
  const ITERATIONS = 8;
  const rows = clusteredRows(90, D, 1, 1.2);
  const start = Float32Array.from(clusteredRows(4, D, 2, 1.2).flat());
  const means = Array.from({ length: 4 }, (_, k) => [...start.slice(k * D, (k + 1) * D)]);
  const classical = (covariance: "spherical" | "diagonal") =>
    options(
      {
        components: 4,
        covariance,
        floor: 0,
        weights: "estimated",
        weightRate: 1,
        forgetting: { retention: 0 },
        prior: { strength: 0 },
        init: { variance: 0.125 },
      },
      { dim: D, start },
    );
  const expected: Record<string, z.infer<typeof history>> = {};
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-gmm-"));
    await writeNpy(join(folder, "rows.npy"), [rows.length, D], Float32Array.from(rows.flat()));
    await writeNpy(join(folder, "means.npy"), [4, D], start);
    for (const covariance of ["spherical", "diagonal"]) {
      const name = covariance === "diagonal" ? "diag" : covariance;
      const printed = await runPython("gaussian_mixture.py", folder, name, "0.125", String(ITERATIONS));
      expected[covariance] = history.parse(JSON.parse(printed));
    }
  });
  after(() => rm(folder, { recursive: true }));

  for (const covariance of ["spherical", "diagonal"] as const) {
    it(`the float64 reference agrees to 1e-12, ${covariance}`, () => {
      const settings = referenceOptions(classical(covariance));
      let components = begin(means, means, settings);
      for (const iteration of expected[covariance] ?? []) {
        components = step(rows, components, { beta: 1, a: 0 }, settings).components;
        const variances = components.flatMap(({ sigma2 }) =>
          covariance === "diagonal" ? sigma2 : sigma2.slice(0, 1),
        );
        assert.ok(
          difference(
            components.flatMap(({ mu }) => mu),
            iteration.means,
          ) < 1e-12,
        );
        assert.ok(difference(variances, iteration.variances) < 1e-12);
        assert.ok(
          difference(
            components.map(({ pi }) => pi),
            iteration.weights,
          ) < 1e-12,
        );
      }
    });
  }

  onEachBackend("the same", () => {
    for (const covariance of ["spherical", "diagonal"] as const) {
      it(`every iteration agrees to 1e-4, ${covariance}`, async () => {
        const plugin = onlineGmm(classical(covariance));
        for (const [t, iteration] of (expected[covariance] ?? []).entries()) {
          await take(plugin, rows, at(t));
          const found = await plugin.parameters();
          for (const name of ["means", "variances", "weights"] as const) {
            const apart = difference([...(found[name]?.data ?? [])], iteration[name]);
            assert.ok(apart < 1e-4, `${name} differ by ${apart} after ${t + 1} iterations`);
          }
        }
        plugin.dispose();
      });
    }
  });
});
