import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../src/files/paths.ts";
import { type Finished, mixhead, tiny } from "../cli/command.ts";
import { leavings } from "./leavings.ts";

const config = join(packageRoot, "configs", "demo", "decoupled.yaml");

describe("a run whose files were damaged while nobody trained at it", function () {
  this.timeout(400_000);
  let folder: string;
  let whole: Awaited<ReturnType<typeof leavings>>;
  const at = (...path: string[]) => join(folder, "runs", "mine", ...path);
  const checkpoint = (file: string) => at("decoupled", "checkpoints", "step-0000008", file);
  const metrics = () => at("decoupled", "metrics.jsonl");
  const resume = () => mixhead(folder, "resume", "mine", "train.stop=12");

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mixhead-test-"));
    await train("whole", 12);
    whole = await leavings(join(folder, "runs", "whole"), ["decoupled"]);
    await train("short", 8);
  });
  beforeEach(async () => {
    await rm(at(), { recursive: true, force: true });
    await cp(join(folder, "runs", "short"), at(), { recursive: true });
  });
  after(() => rm(folder, { recursive: true }));

  async function train(name: string, stop: number): Promise<void> {
    const { status, stderr } = await mixhead(
      folder,
      ...["train", config, ...tiny, `train.stop=${stop}`, "--name", name],
    );
    assert.equal(status, 0, stderr);
  }

  async function assertWhole({ status, stderr }: Finished, said: RegExp): Promise<void> {
    assert.equal(status, 0, stderr);
    assert.match(stderr, said);
    assert.deepEqual(await leavings(at(), ["decoupled"]), whole);
  }

  it("continues from the checkpoint before, to the same bits, if one bit of the newest was flipped", async () => {
    const content = await readFile(checkpoint("training.pt"));
    content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
    await writeFile(checkpoint("training.pt"), content);
    const said = /step-0000008 is damaged: its training\.pt is not .*; step-0000004 is used instead$/m;
    await assertWhole(await resume(), said);
    const { status, stderr } = await mixhead(folder, "export", "mine", join(folder, "mine.pt"));
    assert.equal(status, 0, stderr);
  });

  it("continues from the checkpoint before, to the same bits, if the newest was cut short", async () => {
    await truncate(checkpoint("encoder.safetensors"), 1000);
    const said = /step-0000008 is damaged: its encoder\.safetensors has 1000 bytes instead of \d+; step-0/;
    await assertWhole(await resume(), said);
  });

  it("has the lines of its metrics restored before it resumes", async () => {
    await truncate(metrics(), 100);
    await assertWhole(await resume(), /metrics\.jsonl ends within line 1: its lines .* are restored/);
    await rm(metrics());
    await assertWhole(await resume(), /metrics\.jsonl is missing: its lines .* are restored/);
  });

  it("does not resume with other settings, and leaves its record unchanged", async () => {
    const record = await readFile(at("config.yaml"), "utf8");
    const changed = record.replace(/^( +)lr: .*/m, "$1lr: 0.05");
    assert.notEqual(changed, record);
    await writeFile(at("config.yaml"), changed);
    const { status, stderr } = await resume();
    assert.equal(status, 2);
    assert.match(
      stderr,
      /^mixhead: decoupled of runs\/mine was trained with train\.lr \S+, and its configuration now says 0\.05: /m,
    );
    assert.equal(await readFile(at("config.yaml"), "utf8"), changed);
  });
});
