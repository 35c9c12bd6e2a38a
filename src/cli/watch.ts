import type { Command } from "commander";
import { readRun } from "../experiment/run-folder.ts";
import { FIRST_PORT, serveLive } from "../live/server.ts";
import { wholeNumber } from "./whole-number.ts";

/** `mixhead watch RUN`: the live page of a run, until Ctrl-C. */
export function watch(program: Command): void {
  program
    .command("watch")
    .description("the live page of a run")
    .argument("<run>", "a name under runs/")
    .option(
      "--port <port>",
      `the port of the page (default: the first free one from ${FIRST_PORT})`,
      wholeNumber(1, 65535),
    )
    .action(async (name: string, { port }: { port?: number }) => {
      const { folder } = await readRun(name);
      const live = await serveLive(folder, port);
      process.stdout.write(`${live.url}\n`);
      process.stderr.write(`watching runs/${name}; press Ctrl-C to stop\n`);
      await new Promise((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
      await live.close();
    });
}
