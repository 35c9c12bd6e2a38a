/** npm run bench: the tables of docs/mixture.md and docs/experiments.md. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { resolveConfig } from "../src/config/load.ts";
import { dataDir } from "../src/setup/paths.ts";
import { pythonPath } from "../src/setup/python.ts";

const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url));

function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}): void {
  const { status } = spawnSync(command, args, { stdio: "inherit", env: { ...process.env, ...env } });
  if (status !== 0) process.exit(1);
}

console.log("| device | encoder | batch | fetching, ms | augmenting, ms | the rest, ms | augmenting |");
console.log("| --- | --- | --- | --- | --- | --- | --- |");
const config = resolveConfig({ prototypes: "joint", data: { train: 20_000 } });
run(pythonPath(), [pathOf("views.py"), JSON.stringify(config), dataDir()], { OMP_NUM_THREADS: "1" });

console.log("\n| threads | N | D | K | step | backend | tfjs, ms | PyTorch, ms | ratio |");
console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
for (const threads of ["1", undefined]) {
  const limits = { OMP_NUM_THREADS: threads, TF_NUM_INTRAOP_THREADS: threads };
  run(process.execPath, ["--import", pathOf("../register.mjs"), pathOf("em-step.ts")], limits);
}
