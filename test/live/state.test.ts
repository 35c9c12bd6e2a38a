import assert from "node:assert/strict";
import { resolveConfig } from "../../src/config/load.ts";
import type { MetricsLine } from "../../src/experiment/metrics-log.ts";
import type { Run } from "../../src/experiment/run-folder.ts";
import { pointOf, runState, type Training } from "../../src/live/state.ts";

const config = resolveConfig({ train: { steps: 1000, stop: 500 } });
const now = 1_000_000_000;

/** Trainings of the arms "a" and "b", a seed each; `of` gives their lines and when they changed. */
function stateOf(of: { lines: MetricsLine[]; changed: number | null }[], ended: number | null = null) {
  const arms = ["a", "b"].slice(0, of.length);
  const jobs = arms.map((arm) => ({ arm, seed: 0, label: arm, config, folder: arm }));
  const run: Run = {
    name: "r",
    folder: "runs/r",
    seeds: [0],
    arms: new Map(arms.map((arm) => [arm, config])),
    jobs,
  };
  const trainings: Training[] = of.map(({ lines, changed }, index) => {
    const job = jobs[index];
    assert.ok(job);
    return { job, lines, changed };
  });
  return runState(run, trainings, { now, ended, unreadable: 0 });
}

function evaluation(step: number, seconds: number): MetricsLine {
  return { step, knn: 0.4, unique: { "0.25": 0.9, "0.5": 0.7 }, used: 0.5, perplexity: 9, seconds };
}

const waiting = { lines: [], changed: null };
const training = (step: number) => ({ step, loss: 6, stepSeconds: 0.5 });

describe("the state of a run", () => {
  it("is waiting, then running, then complete where the last step was evaluated", () => {
    assert.equal(stateOf([waiting]).state, "waiting");
    assert.equal(stateOf([{ lines: [training(500)], changed: now }]).state, "running");
    assert.equal(
      stateOf([{ lines: [training(500), evaluation(500, 9)], changed: now - 1e6 }]).state,
      "complete",
    );
  });

  it("is running while one arm is complete and another has not begun", () => {
    const complete = { lines: [evaluation(500, 9)], changed: now };
    assert.equal(stateOf([complete, waiting]).state, "running");
  });

  it("is stopped where a session has ended since the last measurement, and running where one was resumed", () => {
    const lines = [training(100)];
    assert.equal(stateOf([{ lines, changed: now - 5 }], now - 1).state, "stopped");
    assert.equal(stateOf([{ lines, changed: now - 5 }], now - 9).state, "running");
  });

  it("is quiet, not stopped, where nothing came for long: that may be a long evaluation", () => {
    const { state, measured } = stateOf([{ lines: [training(100)], changed: now - 600_000 }]);
    assert.equal(state, "quiet");
    assert.equal(measured, now - 600_000);
  });

  it("tells the time left by the steps' own time, later by the evaluations, these included", () => {
    const young = stateOf([{ lines: [evaluation(0, 20), training(10)], changed: now }]);
    assert.equal(young.secondsLeft, 490 * 0.5);
    const older = [evaluation(0, 20), evaluation(100, 100), training(200), evaluation(200, 180)];
    assert.equal(stateOf([{ lines: older, changed: now }]).secondsLeft, 300 * 0.8);
  });

  it("shares the work that waits among the trainings under way", () => {
    const lines = [training(400)];
    assert.equal(stateOf([{ lines, changed: now }, waiting]).secondsLeft, (100 + 500) * 0.5);
    assert.equal(stateOf([{ lines, changed: now - 5 }, waiting], now).secondsLeft, null);
  });

  it("keeps an evaluation's loss and spread, which are of another batch, out of the training curves", () => {
    assert.deepEqual(
      Object.entries(pointOf({ ...evaluation(100, 1), loss: 5, spread: 0.5 })).filter(
        ([, value]) => value !== undefined,
      ),
      [
        ["step", 100],
        ["knn", 0.4],
        ["unique25", 0.9],
        ["unique5", 0.7],
        ["used", 0.5],
      ],
    );
  });
});
