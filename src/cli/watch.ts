import { type Command, InvalidArgumentError } from "commander";
import { readRun } from "../experiment/run-folder.ts";
import { FIRST_PORT, serveLive } from "../live/server.ts";

/** `mixhead watch RUN`: the live page of a run, until Ctrl-C. */
export function watch(program: Command): void {
  program
    .command("watch")
    .description("the live page of a run")
    .argument("<run>", "a name under runs/")
    .option(
      "--port <port>",
      `the port of the page (default: the first free one from ${FIRST_PORT})`,
      portNumber,
    )
    .action(async (name: string, { port }: { port?: number }) => {
      const { folder } = await readRun(name);
      const live = await serveLive(folder, port);
      process.stdout.write(`${live.url}\n`);
      process.stderr.write(`watching runs/${name}; Ctrl-C ends it\n`);
      await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
      await live.close();
    });
}

function portNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65535)
    throw new InvalidArgumentError("allowed: a whole number from 1 to 65535.");
  return value;
}
