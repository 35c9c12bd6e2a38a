import { Command, CommanderError } from "commander";
import { RunError, sentence, UserError } from "../errors.ts";

/** EX_TEMPFAIL of sysexits.h: a signal ended the run at a checkpoint; restart it. */
const REQUEUE = 75;

/** Runs one command line with these commands. @returns the exit status: 0 done, 1 failed, 2 bad input, 75 restart it */
export async function runProgram(
  commands: readonly ((program: Command) => void)[],
  args: readonly string[],
): Promise<number> {
  const program = new Command("mixhead")
    .description("Decoupled prototypes for self-supervised learning")
    .showHelpAfterError("(mixhead --help lists the commands)")
    .exitOverride();
  for (const command of commands) command(program);
  try {
    await program.parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    return exitStatus(error);
  }
}

function exitStatus(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const user = error instanceof UserError;
  process.stderr.write(`mixhead: ${sentence(error)}\n`);
  if (!user && process.env.MIXHEAD_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (user) return 2;
  return error instanceof RunError && error.code === "preempted" ? REQUEUE : 1;
}
