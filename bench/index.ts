/** npm run bench: the tables of docs/mixture.md. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

console.log("| threads | N | D | K | step | backend | tfjs, ms | PyTorch, ms | ratio |");
console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
for (const threads of ["1", undefined]) {
  const limits = { OMP_NUM_THREADS: threads, TF_NUM_INTRAOP_THREADS: threads };
  const { status } = spawnSync(
    process.execPath,
    [
      "--import",
      fileURLToPath(new URL("../register.mjs", import.meta.url)),
      fileURLToPath(new URL("em-step.ts", import.meta.url)),
    ],
    { stdio: "inherit", env: { ...process.env, ...limits } },
  );
  if (status !== 0) process.exit(1);
}
