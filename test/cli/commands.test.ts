import assert from "node:assert/strict";
import { Command, Help } from "commander";
import { COMMANDS } from "../../src/cli/commands.ts";

describe("the list of commands", () => {
  it("says of each command what its code says, which the list does not load", async () => {
    for (const [name, { words, summary, load }] of COMMANDS) {
      const program = new Command("mixhead");
      (await load())(program);
      const [command] = program.commands;
      assert.ok(command);
      assert.equal(command.name(), name);
      assert.equal(new Help().subcommandTerm(command), words);
      assert.equal(command.description(), summary);
    }
  });
});
