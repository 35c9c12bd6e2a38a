import type { Command } from "commander";
import { printable } from "../errors.ts";
import { listKeys, makeKey, revokeKey } from "../serve/keys.ts";

/** `mixhead keys make|list|revoke FOLDER`: who may reach a server from other machines. */
export function keys(program: Command): void {
  const group = program
    .command("keys")
    .description(
      "the keys of a server that other machines can reach (serve --keys FOLDER): make, list, revoke",
    );
  group
    .command("make")
    .description("lets somebody in: writes FOLDER/NAME.json, which is their secret, and FOLDER/server.json")
    .argument("<folder>")
    .argument("[name]", "what the key is called", "client")
    .action(async (folder: string, name: string) => {
      const file = await makeKey(folder, name);
      process.stdout.write(`${file} is a secret: scripts find their copy of it by MIXHEAD_KEYS\n`);
    });
  group
    .command("list")
    .description("names and public keys of those who are let in")
    .argument("<folder>")
    .option("--json", "print the list as JSON")
    .action(async (folder: string, { json }: { json?: boolean }) => {
      const all = await listKeys(folder);
      if (json) process.stdout.write(`${JSON.stringify(all)}\n`);
      else for (const { name, key } of all) process.stdout.write(`${name || "-"}  ${printable(key)}\n`);
    });
  group
    .command("revoke")
    .description("lets somebody in no more; a server that runs need not be restarted")
    .argument("<folder>")
    .argument("<key>", "a name, or a public key")
    .action(async (folder: string, who: string) => {
      const { name, key } = await revokeKey(folder, who);
      process.stdout.write(
        `${name || key} opens no connection any more; one that stands goes on until it ends\n`,
      );
    });
}
