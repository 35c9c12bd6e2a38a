import type { Command } from "commander";
import { printable } from "../errors.ts";
import { listKeys, makeKey, revokeKey } from "../serve/keys.ts";

/** `mixhead keys make|list|revoke FOLDER`: manages the clients that a server admits from other machines. */
export function keys(program: Command): void {
  const group = program
    .command("keys")
    .description(
      "make, list and revoke keys of a server that other machines can reach (serve --keys FOLDER)",
    );
  group
    .command("make")
    .description(
      "admit a client: write its secret key to FOLDER/NAME.json, and the server's public key to FOLDER/server.json",
    )
    .argument("<folder>")
    .argument("[name]", "the name of the key", "client")
    .action(async (folder: string, name: string) => {
      const file = await makeKey(folder, name);
      process.stdout.write(`${file} is a secret key: set MIXHEAD_KEYS to its copy where the script runs\n`);
    });
  group
    .command("list")
    .description("list the names and public keys of the admitted clients")
    .argument("<folder>")
    .option("--json", "print the list as JSON")
    .action(async (folder: string, { json }: { json?: boolean }) => {
      const all = await listKeys(folder);
      if (json) process.stdout.write(`${JSON.stringify(all)}\n`);
      else for (const { name, key } of all) process.stdout.write(`${name || "-"}  ${printable(key)}\n`);
    });
  group
    .command("revoke")
    .description("stop admitting a client; a running server need not be restarted")
    .argument("<folder>")
    .argument("<key>", "a name, or a public key")
    .action(async (folder: string, who: string) => {
      const { name, key } = await revokeKey(folder, who);
      process.stdout.write(
        `${name || key} is no longer admitted; connections that are open continue until they end\n`,
      );
    });
}
