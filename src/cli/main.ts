import { type Command, Help } from "commander";
import { COMMANDS } from "./commands.ts";
import { runProgram } from "./program.ts";

type Register = (program: Command) => void;

/** Runs one command line. @returns the exit status: 0 done, 1 failed, 2 bad input, 75 to be restarted */
export async function main(args: readonly string[]): Promise<number> {
  const [first = ""] = args;
  if (first === "--version") {
    const { version } = await import("../files/version.ts"); // loaded here only, to keep --help fast
    process.stdout.write(`${version}\n`);
    return 0;
  }
  const called = COMMANDS.has(first) ? [first] : args.filter((word) => COMMANDS.has(word));
  const commands = Array.from(
    COMMANDS,
    async ([name, { summary, load }]): Promise<Register> =>
      called.includes(name) ? load() : (program) => void program.command(name).description(summary),
  );
  return runProgram([listInWords, ...(await Promise.all(commands))], args);
}

/** Shows the usage of commands whose code is not loaded in the list of commands. */
function listInWords(program: Command): void {
  const help = new Help();
  program.option("--version", "print the version");
  program.configureHelp({
    subcommandTerm: (command) => COMMANDS.get(command.name())?.words ?? help.subcommandTerm(command),
  });
}
