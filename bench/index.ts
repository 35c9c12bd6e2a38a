/**
 * npm run bench [NAME...]: measures figures, prints their tables, and writes each to bench/results/NAME.json.
 * See npm run bench -- --help.
 */
import { join } from "node:path";
import { Command, Option } from "commander";
import { sentence, UserError } from "../src/errors.ts";
import { writeAtomic } from "../src/files/atomic.ts";
import { packageRoot } from "../src/files/paths.ts";
import { beArm } from "./arms/index.ts";
import type { Context, Figure, Machine, Result, Row } from "./figure.ts";
import { figures } from "./figures/index.ts";
import { describeMachine, revision } from "./machine.ts";
import { renewPages } from "./page.ts";
import { footnotes, plainTable } from "./tables.ts";

interface Options {
  device?: Context["device"];
  quick?: boolean;
  out: string;
}

const RESULTS = join(packageRoot, "bench", "results");

const program = new Command("bench")
  .description("Measures figures side by side, each arm in a process of its own.")
  .enablePositionalOptions() // so that --out after a command belongs to that command
  .argument("[name...]", `figures: ${Object.keys(figures).join(", ")} (default: all)`)
  .addOption(
    new Option("--device <device>", "cpu or cuda (default: cuda where there is one)").choices([
      "cpu",
      "cuda",
    ]),
  )
  .option("--quick", "few and short rounds: whether it works, not how fast")
  .option("--out <folder>", "where the results go", RESULTS)
  .action(measureAll);
program
  .command("pages")
  .description("writes the tables of docs/*.md anew, from the files of bench/results that they name")
  .action(async () => console.log((await renewPages(RESULTS)).join("\n")));
program
  .command("draw")
  .description("draws a step of each trace, under each other")
  .argument("<title=file...>", "traces of `mixhead train --trace`")
  .requiredOption("--out <file>", "an .svg or a .png")
  .action(async (traces: string[], { out }: { out: string }) => {
    await (await import("./draw-step.ts")).drawSteps(traces, out);
  });

async function measureAll(names: string[], { device, quick = false, out }: Options): Promise<void> {
  const machine = await describeMachine();
  const common: Omit<Context, "keep"> = {
    device: device ?? (machine.card === null ? "cpu" : "cuda"),
    quick,
    out,
    note: (line) => process.stderr.write(`  ${line}\n`),
  };
  for (const name of names.length > 0 ? names : Object.keys(figures)) {
    const figure = figures[name];
    if (figure === undefined) throw new UserError(`there is no figure "${name}"`);
    if (figure.devices && !figure.devices.includes(common.device)) continue;
    process.stderr.write(`${name}\n`);
    const write = (result: Result) =>
      writeAtomic(join(out, `${name}.json`), [`${JSON.stringify(result, shortened, 2)}\n`]);
    const context: Context = {
      ...common,
      keep: (rows) => write(resultOf(name, figure, context, machine, rows)),
    };
    try {
      const result = resultOf(name, figure, context, machine, await figure.measure(context));
      await write(result);
      process.stdout.write(`${result.title}\n\n${plainTable(result)}\n\n${footnotes(result).join("\n")}\n\n`);
    } catch (error) {
      process.stdout.write(`${name}: ${sentence(error)}\n\n`);
      process.exitCode = 1;
    }
  }
}

/** Significant digits; more would be noise. */
function shortened(_: string, value: unknown): unknown {
  return typeof value === "number" ? Number(value.toPrecision(8)) : value;
}

function resultOf(
  name: string,
  figure: Figure,
  context: Context,
  machine: Machine,
  rows: readonly Row[],
): Result {
  return {
    figure: name,
    title: figure.title,
    how: context.quick ? `${figure.how(context)} A quick look, not a measurement.` : figure.how(context),
    when: new Date().toISOString(),
    revision: revision(),
    machine: { ...machine, card: context.device === "cuda" ? machine.card : null },
    rows: [...rows],
  };
}

const [first, ...rest] = process.argv.slice(2);
try {
  if (first === "--cli") process.exitCode = await (await import("../src/cli/main.ts")).main(rest);
  else if (first === "--arm") await beArm(...rest);
  else await program.parseAsync();
} catch (error) {
  process.stderr.write(`bench: ${sentence(error)}\n`);
  process.exitCode = error instanceof UserError ? 2 : 1;
}
