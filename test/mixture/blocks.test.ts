import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import type { PrototypePlugin } from "../../src/plugins/plugin.ts";
import { onEachBackend } from "../backend/available.ts";
import { at, covariances, difference, type Settings } from "../plugins/support.ts";
import { batch, D, kinds, N, open, parts } from "./support.ts";

const STEPS = 5;
const wanted = { responsibilities: true, winners: true };

const settings: Record<string, Settings> = Object.fromEntries([
  ...covariances.flatMap((covariance) =>
    (["uniform", "estimated"] as const).flatMap((weights) =>
      [0, 0.02].map((cutoff) => [
        `${covariance}, ${weights} weights, cutoff ${cutoff}`,
        { covariance, weights, cutoff, variance: 0.1, floor: 1e-3, prior: { strength: 5 } },
      ]),
    ),
  ),
  ["kmeans", kinds.kmeans],
  ["frozen", { ...kinds.frozen, cutoff: 0.02 }],
]);

/** What a step gives besides the next state, as arrays; the step is taken. */
async function taken(plugin: PrototypePlugin, step: number, wants: typeof wanted | undefined) {
  const h = batch(step);
  const made = (await plugin.propose?.(h, at(step), wants)) ?? assert.fail("a plugin that proposes");
  made.adopt();
  const { entropy } = made.scalars;
  const read = {
    r: [...((await made.responsibilities?.data()) ?? [])],
    winners: [...((await made.winners?.data()) ?? [])],
    entropy: typeof entropy === "object" ? ((await entropy.data())[0] ?? Number.NaN) : Number.NaN,
  };
  tf.dispose([h, made.responsibilities ?? [], made.winners ?? [], made.scalars]);
  return read;
}

onEachBackend("blocks of rows", () => {
  for (const [kind, of] of Object.entries(settings)) {
    it(`give what the batch as a whole gives: ${kind}`, async () => {
      for (const block of [1, 7, N - 1]) {
        for (const wants of [undefined, wanted]) {
          const [whole, parted] = await Promise.all([
            open(parts(of)),
            open(parts({ ...of, block }), { device: true }),
          ]);
          const held: number[] = [];
          for (let step = 0; step < STEPS; step++) {
            const [one, other] = [
              await taken(whole.plugin, step, wants),
              await taken(parted.plugin, step, wants),
            ];
            const where = `blocks of ${block}, step ${step}`;
            assert.equal(one.winners.length, wants ? whole.plugin.components : 0);
            assert.deepEqual(other.winners, one.winners, where);
            assert.ok(difference(other.r, one.r) < 1e-5, `responsibilities, ${where}`);
            assert.ok(difference([other.entropy], [one.entropy]) < 1e-5, `entropy, ${where}`);
            held.push(tf.memory().numTensors);
          }
          const [expected, found] = [await whole.plugin.state(), await parted.plugin.state()];
          for (const [name, { data }] of Object.entries(expected)) {
            if (name === "progress") continue;
            const apart = difference([...(found[name]?.data ?? [])], [...data]);
            assert.ok(apart < 1e-5, `${name} differ by ${apart}, blocks of ${block}`);
          }
          assert.equal(new Set(held.slice(1)).size, 1, `tensors are left behind: ${held}`);
          whole.dispose();
          parted.dispose();
        }
      }
    });
  }

  it("bound what exists at once by their size: N x K numbers are never there as a whole", async () => {
    const [n, block] = [1024, 64];
    const { plugin } = await open(parts({ components: 256, block }));
    const h = batch(0, n);
    const largest = async (work: () => Promise<void>) => {
      const { kernels } = await tf.engine().profile(async () => {
        await work();
        return [];
      });
      return Math.max(...kernels.flatMap(({ outputShapes }) => outputShapes.map(sizeOf)));
    };
    const step = (wants: object) => async () => {
      const made = await plugin.propose?.(h, at(0), wants);
      made?.discard();
      tf.dispose([made?.responsibilities ?? [], made?.winners ?? [], made?.scalars ?? {}]);
    };
    assert.ok((await largest(step({ winners: true }))) <= Math.max(block * 256, n * D));
    assert.equal(await largest(step({ responsibilities: true })), n * 256);
    h.dispose();
    plugin.dispose();
  });
});

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}
