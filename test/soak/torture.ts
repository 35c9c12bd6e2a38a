// Kills a short training again and again, and compares what it leaves with the one that was never killed:
// npm run torture -- SEED KILLS
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import seedrandom from "seedrandom";
import { z } from "zod";
import { readMetrics } from "../../src/experiment/metrics-log.ts";
import { packageRoot } from "../../src/files/paths.ts";
import { CommandLine, tiny } from "../cli/command.ts";
import { family, type Process, whoIsLeft } from "../cli/processes.ts";
import { leavings } from "../experiment/leavings.ts";
import { runPython } from "../reference/python.ts";

const ARM = "decoupled";
const EVERY = 4;
const LAST = 5 * EVERY;
const CONFIG = join(packageRoot, "configs", "demo", `${ARM}.yaml`);
const SETTINGS = [
  ...tiny,
  "bridge.deadline=600",
  `train.stop=${LAST}`,
  `train.checkpointEvery=${EVERY}`,
  "train.evaluateEvery=8",
];

/** When a kill comes: at any time from the start on; in a checkpoint; soon after one, in a step or an evaluation. */
const MOMENTS = ["any time", "in a checkpoint", "after a checkpoint"] as const;
const VICTIMS = ["Node", "control", "worker"] as const;
/** Seconds within which whatever is left has ended; a control process looks once a second. */
const LEFT_SECONDS = 120;

/** What a torture did. */
export interface Torture {
  /** Kills, by whom and when. */
  kills: Record<string, number>;
  /** Runs that came to their end, each compared with the unbroken one. */
  runs: number;
  seconds: number;
}

/**
 * Kills `kills` times, each time random processes of a training at a random moment, and starts it again; whenever a run
 * comes to its end, and at last, it has to have left what the unbroken run leaves.
 *
 * @throws AssertionError where it has not, a step is twice in its metrics, or a process is left.
 */
export async function torture(seed: number, kills: number, log: (line: string) => void): Promise<Torture> {
  const random = seedrandom(`torture ${seed}`);
  const begun = performance.now();
  const folder = await mkdtemp(join(tmpdir(), "mixhead-torture-"));
  const done: Torture = { kills: {}, runs: 0, seconds: 0 };
  try {
    await start(folder, "whole").toItsEnd();
    const seconds = (performance.now() - begun) / 1000;
    log(`the unbroken run took ${seconds.toFixed(0)} s`);
    for (let killed = 0; killed < kills; ) {
      const session = start(folder, "broken");
      const moment = pick(MOMENTS, random);
      const victims = VICTIMS.filter(() => random() < 0.5);
      const chosen = victims.length > 0 ? victims : [pick(VICTIMS, random)];
      const delay = moment === "any time" ? random() * seconds : random() * 0.3;
      if (moment !== "any time") await session.comes(moment);
      await Promise.race([sleep(delay * 1000), session.command.finished]);
      const hit = await session.kill(chosen);
      if (hit.length > 0) {
        const how = `${hit.join(", ")} ${moment}`;
        done.kills[how] = (done.kills[how] ?? 0) + 1;
        log(`kill ${++killed}: ${how}, at ${session.newest() ?? "no checkpoint"}`);
      }
      if (existsSync(join(folder, "runs", "broken", "summary.json"))) await compare();
    }
    await start(folder, "broken").toItsEnd();
    await compare();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return { ...done, seconds: (performance.now() - begun) / 1000 };

  async function compare(): Promise<void> {
    // A kill may have come between the summary and the report.
    await start(folder, "broken").toItsEnd();
    const [broken, whole] = await Promise.all(["broken", "whole"].map((name) => left(folder, name)));
    assert.deepEqual(broken, whole);
    const file = (name: string) => {
      const step = `step-${String(LAST).padStart(7, "0")}`;
      return join(folder, "runs", name, ARM, "checkpoints", step, "training.pt");
    };
    assert.equal(await runPython("equal.py", file("whole"), file("broken")), "");
    await rm(join(folder, "runs", "broken"), { recursive: true });
    done.runs++;
    log(`run ${done.runs} came to its end, with the bits of the unbroken one`);
  }
}

/** A command that trains, or trains on. */
function start(folder: string, name: string) {
  const known = existsSync(join(folder, "runs", name, "config.yaml"));
  const args = known ? ["resume", name] : ["train", CONFIG, ...SETTINGS, "--name", name];
  const command = new CommandLine(folder, args);
  const checkpoints = join(folder, "runs", name, ARM, "checkpoints");
  const read = () => (existsSync(checkpoints) ? readdir(checkpoints) : Promise.resolve([]));
  let names: string[] = [];
  return {
    command,
    newest: () =>
      names
        .filter((each) => each.startsWith("step-"))
        .sort()
        .at(-1),

    async toItsEnd(): Promise<void> {
      const { status, stderr } = await command.finished;
      assert.equal(status, 0, stderr);
    },

    /** Waits for a checkpoint that begins, or that is there; or for the end. */
    async comes(moment: "in a checkpoint" | "after a checkpoint"): Promise<void> {
      const before = await read();
      const prefix = moment === "in a checkpoint" ? "incoming-" : "step-";
      while (command.process.exitCode === null) {
        const now = await read();
        if (now.some((each) => each.startsWith(prefix) && !before.includes(each))) return;
        await sleep(5);
      }
    },

    /** Kills those that are there, and waits until no process is left. Gives those that it has killed. */
    async kill(victims: readonly (typeof VICTIMS)[number][]) {
      names = await read();
      if (command.process.exitCode !== null) return [];
      const all = family(command.process.pid ?? assert.fail());
      const hit = victims.filter((victim) => all.some((each, index) => is(victim, each, index)));
      const pids = all.filter((each, index) => hit.some((victim) => is(victim, each, index)));
      for (const { pid } of pids) killIfThere(pid);
      await command.finished;
      assert.deepEqual(await whoIsLeft(all, LEFT_SECONDS), []);
      return hit;
    },
  };
}

function is(victim: (typeof VICTIMS)[number], { args }: Process, index: number): boolean {
  if (victim === "Node") return index === 0;
  const pattern = victim === "control" ? /pythonia/ : /mixhead\.worker\.launch work /;
  return index > 0 && pattern.test(args);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself, or with another one.
  }
}

/** All that a run leaves but times, and that no step is twice in its metrics. */
async function left(folder: string, name: string) {
  const run = join(folder, "runs", name);
  const lines = await readMetrics(join(run, ARM, "metrics.jsonl"));
  const steps = lines.map(({ step, knn }) => `${knn === undefined ? "trained" : "evaluated"} ${step}`);
  assert.deepEqual(steps, [...new Set(steps)], "a step is twice in metrics.jsonl");
  const text = await readFile(join(run, "summary.json"), "utf8");
  const summary = JSON.stringify(JSON.parse(text), (key, value) => (key === "seconds" ? undefined : value));
  return { summary, arms: await leavings(run, [ARM]) };
}

function pick<T>(of: readonly T[], random: () => number): T {
  return of[Math.floor(random() * of.length)] ?? assert.fail();
}

if (process.argv[1] === import.meta.filename) {
  const count = z.coerce.number().int().nonnegative();
  const [seed = "1", kills = "50"] = process.argv.slice(2);
  const log = (line: string) => void process.stdout.write(`${line}\n`);
  const result = await torture(count.parse(seed), count.parse(kills), log);
  log(JSON.stringify({ seed: Number(seed), ...result }, null, 1));
}
