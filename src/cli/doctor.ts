import type { Command } from "commander";
import { examine, type Finding } from "../setup/examine.ts";

/** `mixhead doctor`: what is installed, what is missing, what to do. Exits with 1 if training cannot run. */
export function doctor(program: Command): void {
  program
    .command("doctor")
    .description("what is installed, what is missing, what to do")
    .option("--json", "one JSON object on standard output")
    .action(async ({ json }: { json?: boolean }) => {
      const findings = await examine();
      const ok = findings.every(({ state }) => state !== "missing");
      process.stdout.write(json ? `${JSON.stringify({ ok, findings })}\n` : text(findings, ok));
      if (!ok) process.exitCode = 1;
    });
}

function text(findings: readonly Finding[], ok: boolean): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.flatMap(({ name, state, is, toDo }) => [
    `${state.padEnd(8)} ${name.padEnd(width)}  ${is}`,
    ...(toDo ? [`${" ".repeat(width + 11)}-> ${toDo}`] : []),
  ]);
  lines.push(ok ? "Everything that training needs is here." : "Training cannot run: see what is missing.");
  return `${lines.join("\n")}\n`;
}
