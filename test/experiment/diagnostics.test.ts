import assert from "node:assert/strict";
import { resolveConfig } from "../../src/config/load.ts";
import { diagnose, settingOf } from "../../src/experiment/diagnostics.ts";
import type { MetricsLine } from "../../src/experiment/metrics-log.ts";

const setting = settingOf(resolveConfig({ plugin: { components: 1024 } }));
const lnK = Math.log(1024);

/** A training line every ten steps, up to `steps`. */
function training(steps: number, at: (step: number) => Partial<MetricsLine>): MetricsLine[] {
  return Array.from({ length: steps / 10 }, (_, index) => {
    const step = 10 * (index + 1);
    return { step, loss: 0.9 * lnK, spread: 0.85, ...at(step) };
  });
}

function evaluation(step: number, used: number, more: Partial<MetricsLine> = {}): MetricsLine {
  return { step, knn: 0.4, used, perplexity: 50, unique: { "0.025": 1, "0.5": 0.9 }, seconds: 1, ...more };
}

const kinds = (lines: MetricsLine[], over: Partial<typeof setting> = {}) =>
  diagnose(lines, { ...setting, ...over }).map(({ kind }) => kind);

describe("diagnostics", () => {
  it("find nothing in a healthy run, from its first line to its last", () => {
    // Figures of a decoupled run on CIFAR-10: usage starts at 2 %, falls and grows again.
    const healthy = [
      evaluation(0, 0.02, { perplexity: 2.5 }),
      ...training(1000, (step) => ({
        loss: step < 60 ? 1.04 * lnK : 0.92 * lnK,
        spread: step < 50 ? 0.034 : 0.88,
      })),
    ];
    for (let end = 1; end <= healthy.length; end++) assert.deepEqual(kinds(healthy.slice(0, end)), []);
  });

  it("do not alarm while the components of a decoupled run come into use little by little", () => {
    // Measured: usage at every 500 steps of a long run, and at every 100 of one with few images.
    const long = [0.25, 0.18, 0.29, 0.42, 0.58, 0.72].map((used, index) =>
      evaluation(500 * (index + 1), used),
    );
    const short = [0.066, 0.07, 0.07, 0.074, 0.074, 0.094, 0.094, 0.113, 0.129, 0.164];
    for (const run of [long, short.map((used, index) => evaluation(100 * (index + 1), used))]) {
      for (let end = 1; end <= run.length; end++) {
        assert.ok(diagnose(run.slice(0, end), setting).every(({ level }) => level === "note"));
      }
    }
  });

  it("leave a plain DINO head alone, whose embeddings are close together all the time", () => {
    assert.deepEqual(kinds(training(500, () => ({ spread: 0.115 }))), []);
  });

  it("say that a loss at ln K or above learns nothing", () => {
    for (const share of [1, 1.05]) {
      const [found] = diagnose(
        training(300, () => ({ loss: share * lnK })),
        setting,
      );
      assert.equal(found?.kind, "chance");
      assert.equal(found?.level, "warning");
      assert.match(found?.text ?? "", /ln K = 6\.93 \(K = 1024\)/);
    }
  });

  it("give the loss the warm-up of its rate to leave ln K", () => {
    const lines = training(500, () => ({ loss: lnK }));
    assert.deepEqual(kinds(lines, { warmup: 400 }), []);
    assert.deepEqual(kinds(lines, { warmup: 300 }), ["chance"]);
  });

  it("forget a loss at ln K once it has fallen", () => {
    assert.deepEqual(kinds(training(600, (step) => ({ loss: step < 400 ? lnK : 0.9 * lnK }))), []);
  });

  it("know what guessing is worth in each method", () => {
    const at = (method: string, loss: number) =>
      diagnose(
        training(300, () => ({ loss })),
        settingOf(resolveConfig({ method, plugin: { components: 1024 } })),
      ).map(({ text }) => text);
    assert.match(at("carp", Math.log(128))[0] ?? "", /ln 128 = 4\.85/);
    assert.match(at("ibot", 1.5 * lnK)[0] ?? "", /1\.5 ln K = 10\.40/);
    assert.match(at("msn", lnK)[0] ?? "", /ln K = 6\.93/);
    assert.deepEqual([at("carp", 4.4), at("ibot", 1.4 * lnK), at("swav", 0.9 * lnK)], [[], [], []]);
  });

  it("say that the embeddings fill a cone, with their mean cosine", () => {
    const [found] = diagnose(
      training(300, () => ({ spread: 0.02 })),
      setting,
    );
    assert.equal(found?.kind, "cone");
    assert.match(found?.text ?? "", /cosine of 0\.96/);
  });

  it("say that components die: usage halves, or stays low", () => {
    const falls = [0.6, 0.5, 0.28].map((used, index) => evaluation(250 * (index + 1), used));
    assert.deepEqual(kinds(falls), ["dead"]);
    const stays = [0.06, 0.05, 0.055, 0.055].map((used, index) => evaluation(250 * (index + 1), used));
    assert.deepEqual(kinds(stays.slice(0, 3)), ["idle"]);
    assert.deepEqual(kinds(stays), ["dead"]);
    assert.match(diagnose(stays, setting)[0]?.text ?? "", /90 % are unique at 0\.5, but .* teaches nothing/);
  });

  it("say how many prototypes are both distinct and used, if measured", () => {
    const low = [100, 600].map((step) => evaluation(step, 0.05, { distinctUsed: { "0.5": 0.04 } }));
    assert.match(diagnose(low, setting)[0]?.text ?? "", /teaches nothing: distinct and used are 4\.0 %\.$/);
  });

  it("note, without a warning, that unique is not used while usage is low but grows", () => {
    const [found] = diagnose([evaluation(250, 0.05), evaluation(500, 0.08), evaluation(750, 0.12)], setting);
    assert.equal(found?.kind, "idle");
    assert.equal(found?.level, "note");
  });

  it("name the collapse if one prototype gets nearly all images, once", () => {
    assert.deepEqual(kinds([evaluation(250, 0.015, { perplexity: 1.5 })]), ["one-prototype"]);
    assert.deepEqual(kinds([evaluation(0, 0.015, { perplexity: 1.5 })]), []);
  });

  it("say that prototypes are copies of each other", () => {
    assert.deepEqual(kinds([evaluation(250, 0.9, { unique: { "0.025": 0.015, "0.5": 0.001 } })]), ["copies"]);
  });

  it("name the first step whose loss was not finite, in a file (null) and in memory (NaN)", () => {
    for (const loss of [null, Number.NaN, Number.POSITIVE_INFINITY]) {
      const [found] = diagnose(
        training(50, (step) => (step >= 30 ? { loss } : {})),
        setting,
      );
      assert.equal(found?.kind, "not-finite");
      assert.equal(found?.step, 30);
      assert.match(found?.text ?? "", /from step 30 on \(3 times\)/);
    }
  });

  it("blame the learning rate for a loss that is not finite only if a step came before it", () => {
    const texts = [1, 2].map((bad) => diagnose([{ step: bad, loss: null }], setting)[0]?.text ?? "");
    assert.match(texts[0] ?? "", /No weight had changed before, so check the method's loss/);
    assert.match(texts[1] ?? "", /A lower train\.lr/);
  });

  it("read what `fit` writes, which has no loss, and nothing at all", () => {
    assert.deepEqual(kinds([]), []);
    const fit = [200, 600, 1100].map((step) => ({ step, beta: 1, used: 0.01, unique: { "0.5": 1 } }));
    assert.deepEqual(kinds(fit), ["dead"]);
  });
});
