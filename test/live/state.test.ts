import assert from "node:assert/strict";
import { resolveConfig } from "../../src/config/load.ts";
import type { MetricsLine } from "../../src/experiment/metrics-log.ts";
import type { Run } from "../../src/experiment/run-folder.ts";
import { pointOf, runState, type Training } from "../../src/live/state.ts";

const config = resolveConfig({ train: { steps: 1000, stop: 500 } });
/** When the session began, and a moment before and after it. */
const [before, began, after] = [1000, 2000, 3000];

interface Files {
  lines: MetricsLine[];
  changed: number | null;
  failure?: string;
}

/** Trainings of the arms "a" and "b", a seed each, with what their files hold. */
function stateOf(files: Files[], session: number | null = began, settings = config) {
  const arms = ["a", "b"].slice(0, files.length);
  const trainings: Training[] = files.map(({ lines, changed, failure = null }, index) => {
    const arm = arms[index] ?? "";
    return { job: { arm, seed: 0, label: arm, config: settings, folder: arm }, lines, changed, failure };
  });
  const run: Run = {
    name: "r",
    folder: "runs/r",
    seeds: [0],
    arms: new Map(arms.map((arm) => [arm, settings])),
    jobs: trainings.map(({ job }) => job),
  };
  return runState(run, trainings, { began: session, unreadable: 0 });
}

function evaluation(step: number, seconds: number): MetricsLine {
  return {
    step,
    knn: 0.4,
    unique: { "0.25": 0.9, "0.5": 0.7 },
    used: 0.5,
    distinctUsed: { "0.5": 0.3 },
    perplexity: 9,
    seconds,
  };
}

const waiting = { lines: [], changed: null };
const training = (step: number) => ({ step, loss: 6, stepSeconds: 0.5 });

describe("the state of a run", () => {
  it("is waiting, then running, then complete if the last step was evaluated", () => {
    assert.equal(stateOf([waiting]).state, "waiting");
    assert.equal(stateOf([{ lines: [training(500)], changed: after }]).state, "running");
    const complete = { lines: [training(500), evaluation(500, 9)], changed: before };
    assert.equal(stateOf([complete]).state, "complete");
    assert.equal(stateOf([complete], null).state, "complete");
  });

  it("is running while one arm is complete and another has not begun or resumed", () => {
    const complete = { lines: [evaluation(500, 9)], changed: before };
    assert.equal(stateOf([complete, waiting]).state, "running");
    const { state, arms } = stateOf([complete, { lines: [training(100)], changed: before }]);
    assert.deepEqual([state, arms[1]?.state], ["running", "waiting"]);
  });

  it("is stopped as soon as nobody trains it", () => {
    assert.equal(stateOf([{ lines: [training(100)], changed: after }], null).state, "stopped");
    assert.equal(stateOf([waiting], null).state, "waiting");
  });

  it("resumes by a command, or by its experiment file if it has functions", () => {
    assert.equal(stateOf([waiting], null).wayOn, "npx mixhead resume r");
    const own = resolveConfig({ train: { weightDecay: { custom: "mine" } } });
    assert.equal(stateOf([waiting], null, own).wayOn, "run the experiment file again");
  });

  it("says which arm failed and why; the others continue", () => {
    const failed = { lines: [training(100)], changed: after, failure: "the GPU's memory is full" };
    const running = stateOf([failed, { lines: [training(100)], changed: after }]);
    assert.deepEqual([running.state, running.arms[0]?.state], ["running", "failed"]);
    assert.deepEqual(running.arms[0]?.failures, ["the GPU's memory is full"]);
    assert.equal(running.secondsLeft, 400 * 0.5);
    assert.equal(stateOf([failed, { lines: [evaluation(500, 9)], changed: after }], null).state, "failed");
  });

  it("estimates the time left from the steps' own time, later from whole intervals between evaluations", () => {
    const young = stateOf([{ lines: [evaluation(0, 20), training(10)], changed: after }]);
    assert.equal(young.secondsLeft, 490 * 0.5);
    const older = [evaluation(0, 20), evaluation(100, 100), training(200), evaluation(200, 180)];
    assert.equal(stateOf([{ lines: older, changed: after }]).secondsLeft, 300 * 0.8);
  });

  it("shares the work that waits among the trainings under way", () => {
    const lines = [training(400)];
    assert.equal(stateOf([{ lines, changed: after }, waiting]).secondsLeft, (100 + 500) * 0.5);
    assert.equal(stateOf([{ lines, changed: after }, waiting], null).secondsLeft, null);
  });

  it("keeps an evaluation's loss and spread, which are of another batch, out of the training curves", () => {
    assert.deepEqual(
      Object.entries(pointOf({ ...evaluation(100, 1), loss: 5, spread: 0.5 })).filter(
        ([, value]) => value !== undefined,
      ),
      [
        ["step", 100],
        ["knn", 0.4],
        ["distinctUsed5", 0.3],
        ["unique25", 0.9],
        ["unique5", 0.7],
        ["used", 0.5],
      ],
    );
  });

  it("shows a plugin's own scalars beside the standard charts", () => {
    const line = { ...training(10), gradNorm: 1, beta: 1, entropy: 2, moved: 3, live: 0.5, note: "a word" };
    const { entropy, scalars } = pointOf(line);
    assert.deepEqual([entropy, scalars], [2, { moved: 3, live: 0.5 }]);
  });
});
