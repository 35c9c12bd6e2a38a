import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { openBackend } from "../../src/backend/backend.ts";
import { RecentUse } from "../../src/mixture/recent-use.ts";

describe("the components in use", () => {
  before(() => openBackend("wasm"));

  /** Takes a step that the components with a 1 win, or refuses it. */
  async function take(use: RecentUse, step: number, winners: number[], ok = true): Promise<number> {
    const won = tf.tensor1d(winners);
    const { used, adopt } = use.propose(won, step);
    const good = tf.scalar(ok);
    adopt(good);
    const [share = 0] = await used.data();
    tf.dispose([won, used, good]);
    return share;
  }

  it("are those that won a row in the last 500 steps, and the share counts them", async () => {
    const use = new RecentUse(4);
    assert.equal(await use.latest(), undefined);
    assert.equal(await take(use, 0, [1, 0, 0, 0]), 0.25);
    assert.deepEqual([...((await use.latest()) ?? [])], [1, 0, 0, 0]);
    assert.equal(await take(use, 499, [0, 1, 0, 0]), 0.5);
    assert.deepEqual([...((await use.latest()) ?? [])], [1, 1, 0, 0]);
    assert.equal(await take(use, 500, [0, 0, 1, 0]), 0.5);
    assert.deepEqual([...((await use.latest()) ?? [])], [0, 1, 1, 0]);
    use.forget();
    assert.equal(await use.latest(), undefined);
  });

  it("does not change by a step that is refused", async () => {
    const use = new RecentUse(2);
    await take(use, 3, [1, 0]);
    await take(use, 4, [0, 1], false);
    assert.deepEqual([...((await use.latest()) ?? [])], [1, 0]);
    use.dispose();
  });
});
