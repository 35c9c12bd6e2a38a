// What experiment files write, and what the tests of several files share.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PluginFactory, Settings } from "../../src/index.ts";
import { frozen as frozenOf } from "../../src/plugins/frozen.ts";

export * from "../../src/index.ts";

/** The frozen prototypes, as a plugin of a user's. */
export const frozen: PluginFactory = ({ config: { variance, cutoff }, components, dim, seed, start }) =>
  frozenOf({ variance, cutoff, components, dim, seed, start });

/** A training that takes a second beside its start: real images, a real worker, a real mixture. */
export const tiny: Settings = {
  device: "cpu",
  data: { train: 500, test: 200 },
  train: { batch: 16, steps: 40, stop: 6, evaluateEvery: 6, checkpointEvery: 3 },
  plugin: { components: 32 },
  bridge: { deadline: 60 },
};

/** A folder for runs/, the current one from `enter` to `leave`. */
export class Workplace {
  private before = "";
  private inside = "";

  async enter(): Promise<void> {
    this.before = process.cwd();
    this.inside = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    process.chdir(this.inside);
  }

  async leave(): Promise<void> {
    process.chdir(this.before);
    await rm(this.inside, { recursive: true });
  }
}
