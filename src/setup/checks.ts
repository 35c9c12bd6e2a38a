import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot, pythonEnv } from "../files/paths.ts";
import { pythonPath } from "../files/python.ts";
import { duration } from "./progress.ts";
import { mochaTally, NONE, pytestTally, sum, type Tally, tallyText, withStatus } from "./tally.ts";

/** A check is a command. `tally` counts its tests from its output and the files that it left in `folder`. */
interface Check {
  name: string;
  /** Part of `npm run test:quick`. */
  quick?: boolean;
  command: (folder: string) => string[];
  cwd?: string;
  tally?: (output: string, folder: string) => Tally | Promise<Tally>;
}

const local = (name: string) => join(packageRoot, "node_modules", ".bin", name);
const python = (...args: string[]) => [pythonPath(), "-m", ...args];

/**
 * Files of tests run side by side: one more than there are cores, since many tests wait. More than four at a time meet
 * deadlines that were meant for one.
 */
const JOBS = String(Math.min(4, availableParallelism() + 1));

/** The quick tests: wire, mathematics and settings, within seconds and without training. */
const QUICK_MOCHA = [
  "test/{config,files,metrics,schedules,terminal}/**/*.test.ts",
  "test/bridge/{codec,device,generated,limits,server}*.test.ts",
  "test/plugins/online-gmm-reference.test.ts",
];
const QUICK_PYTEST = [
  "tests/bridge",
  "tests/test_heads.py",
  "tests/test_losses.py",
  "tests/test_sinkhorn.py",
];

// --exit: a handle that a test left open must not keep mocha running.
const mocha = (...files: string[]): Check => ({
  name: "mocha",
  command: () => [local("mocha"), "--forbid-only", "--exit", "--parallel", "--jobs", JOBS, ...files],
  tally: mochaTally,
});

const pytest = (...files: string[]): Check => ({
  name: "pytest",
  command: (folder) =>
    python("pytest", "-n", JOBS, "--dist", "loadfile", `--junit-xml=${join(folder, "pytest.xml")}`, ...files),
  cwd: pythonEnv,
  tally: async (_, folder) => pytestTally(await readFile(join(folder, "pytest.xml"), "utf8").catch(() => "")),
});

const STATIC: readonly Check[] = [
  { name: "biome", command: () => [local("biome"), "check", "--error-on-warnings"], quick: true },
  { name: "tsc", command: () => [local("tsc"), "--noEmit"], quick: true },
  { name: "tsc (page)", command: () => [local("tsc"), "--noEmit", "-p", "src/live/client"], quick: true },
  { name: "eslint", command: () => [local("eslint"), "."] },
  { name: "arrows", command: () => [local("depcruise"), "src"], quick: true },
  { name: "unused", command: () => [local("knip"), "--no-progress"] },
  { name: "ruff check", command: () => python("ruff", "check", "."), cwd: pythonEnv, quick: true },
  {
    name: "ruff format",
    command: () => python("ruff", "format", "--check", "."),
    cwd: pythonEnv,
    quick: true,
  },
  { name: "mypy", command: () => python("mypy"), cwd: pythonEnv },
  { name: "site", command: () => ["npm", "run", "--silent", "site"] },
];

const ALL: readonly Check[] = [...STATIC, mocha("test/**/*.test.ts"), pytest()];
const QUICK: readonly Check[] = [
  ...STATIC.filter(({ quick }) => quick),
  mocha(...QUICK_MOCHA),
  pytest(...QUICK_PYTEST),
];

/**
 * Runs every check, or with `quick` those that take seconds, even if some fail. Prints a line for each, then the total of all tests.
 * @returns 0, or 1 if anything failed or no test ran
 */
export async function runChecks({ quick = false } = {}): Promise<number> {
  const results: { line: string; tally: Tally }[] = [];
  for (const check of quick ? QUICK : ALL) {
    const start = Date.now();
    process.stdout.write(`\n== ${check.name}\n`);
    const tally = await perform(check);
    const figures = check.tally ? tallyText(tally) : "";
    const state = tally.failed > 0 ? "failed" : "ok";
    const line = `${state.padEnd(8)}${check.name.padEnd(14)}${duration(Date.now() - start).padStart(8)}  ${figures}`;
    results.push({ line: line.trimEnd(), tally });
  }
  const total = sum(results.map(({ tally }) => tally));
  process.stdout.write(`\n${results.map(({ line }) => line).join("\n")}\n\n${tallyText(total)}\n`);
  return total.failed > 0 || total.passed === 0 ? 1 : 0;
}

async function perform(check: Check): Promise<Tally> {
  const folder = await mkdtemp(join(tmpdir(), "mixhead-checks-"));
  try {
    const [command = "", ...args] = check.command(folder);
    const { status, output } = await show(command, args, check.cwd ?? packageRoot);
    return withStatus((await check.tally?.(output, folder)) ?? NONE, status);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Runs a program, shows its output immediately, and keeps its standard output. */
function show(
  command: string,
  args: readonly string[],
  cwd: string,
): Promise<{ status: number; output: string }> {
  return new Promise((resolve) => {
    const colour = process.stdout.isTTY ? { FORCE_COLOR: "1" } : {};
    const child = spawn(command, args, {
      cwd,
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, OMP_NUM_THREADS: "1", ...colour },
    });
    const stop = () => child.kill();
    process.once("exit", stop);
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      process.stdout.write(chunk);
    });
    const end = (status: number) => {
      process.off("exit", stop);
      resolve({ status, output });
    };
    child.once("error", (error) => {
      process.stdout.write(`${command} cannot be started: ${error.message}\n`);
      end(1);
    });
    child.once("close", (status) => end(status ?? 1));
  });
}
