import type { Command } from "commander";
import { runProgram } from "./program.ts";

type Register = (program: Command) => void;

/** Each is loaded when it is called for: what training takes to load, `doctor` need not wait for. */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  train: async () => (await import("./train.ts")).train,
  compare: async () => (await import("./compare.ts")).compare,
  run: async () => (await import("./run.ts")).run,
  resume: async () => (await import("./resume.ts")).resume,
  data: async () => (await import("./data.ts")).data,
  keys: async () => (await import("./keys.ts")).keys,
  serve: async () => (await import("./serve.ts")).serve,
  fit: async () => (await import("./fit.ts")).fit,
  evaluate: async () => (await import("./evaluate.ts")).evaluate,
  export: async () => (await import("./export.ts")).exportEncoder,
  watch: async () => (await import("./watch.ts")).watch,
  diagnose: async () => (await import("./diagnose.ts")).diagnose,
  report: async () => (await import("./report.ts")).report,
  doctor: async () => (await import("./doctor.ts")).doctor,
};

/** Runs one command line; the exit status: 0 done, 1 failed, 2 bad input. */
export async function main(args: readonly string[]): Promise<number> {
  const all = Object.entries(COMMANDS);
  const called = all.filter(([name]) => name === args[0]);
  const commands = (called.length > 0 ? called : all).map(([, load]) => load());
  return runProgram(await Promise.all(commands), args);
}
